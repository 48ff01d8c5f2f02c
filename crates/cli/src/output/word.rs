//! Enums of the wire as lower-case words.

use quorate_rpc::pb::{
    control::{Health, MemberRole, MemberState},
    types::{
        FaultClass, GroupPhase, HostStatus, OperationStatus, Role, ServiceMode, Severity, StepStatus, Verdict,
    },
};

/// A wire enum and what its names begin with.
pub(crate) trait Word: TryFrom<i32> {
    /// What every name of the enum begins with.
    const PREFIX: &'static str;
    /// The full name of the value.
    fn name(&self) -> &'static str;
}

macro_rules! words {
    ($($enum:ident $prefix:literal),+ $(,)?) => { $(
        impl Word for $enum {
            const PREFIX: &'static str = $prefix;
            fn name(&self) -> &'static str {
                self.as_str_name()
            }
        }
    )+ };
}

words! {
    HostStatus "HOST_STATUS_", ServiceMode "SERVICE_MODE_", Role "ROLE_", Verdict "VERDICT_", GroupPhase "GROUP_PHASE_",
    OperationStatus "OPERATION_STATUS_", StepStatus "STEP_STATUS_", MemberRole "MEMBER_ROLE_", FaultClass "FAULT_CLASS_",
    MemberState "MEMBER_STATE_", Health "HEALTH_", Severity "SEVERITY_",
}

/// The value as a word; none when it is not set. A number from a newer coordinator is shown as such.
pub(crate) fn word<E: Word>(number: i32) -> Option<String> {
    if number == 0 {
        return None;
    }
    Some(E::try_from(number).map_or_else(
        |_| format!("unrecognized_{number}"),
        |value| value.name().trim_start_matches(E::PREFIX).to_lowercase(),
    ))
}
