//! Enums. The value zero of the wire means "not set" and is refused.

use crate::{
    field::{InvalidField, known, unspecified},
    pb,
};
use quorate_domain::{
    GroupState, HostStatus, OperationStatus, Role, ServiceMode, StepStatus, Verdict, group::Phase,
};

/// A domain enum that can be read from the wire.
pub(crate) trait FromWire: Sized {
    /// Reads the number that a field holds.
    fn from_wire(field: &str, number: i32) -> Result<Self, InvalidField>;
}

macro_rules! choices {
    ($($domain:ident = $wire:path as $alias:ident { $($variant:ident),+ $(,)? })+) => { $(
        use $wire as $alias;

        impl From<$domain> for $alias {
            fn from(value: $domain) -> Self {
                match value { $($domain::$variant => Self::$variant),+ }
            }
        }

        impl FromWire for $domain {
            // A wire enum may know values that are not meant for this domain enum.
            #[allow(unreachable_patterns)]
            fn from_wire(field: &str, number: i32) -> Result<Self, InvalidField> {
                let allowed = [$($alias::$variant.as_str_name()),+];
                match known::<$alias>(field, number, &allowed)? {
                    $($alias::$variant => Ok(Self::$variant),)+
                    $alias::Unspecified => Err(unspecified(field, &allowed)),
                    other => Err(InvalidField::new(
                        field,
                        format!("{} is not meant for this field", other.as_str_name()),
                        format!("use one of {}", allowed.join(", ")),
                    )),
                }
            }
        }
    )+ };
}

choices! {
    HostStatus = pb::types::HostStatus as WireHostStatus { Online, Suspect, Offline }
    Verdict = pb::types::Verdict as WireVerdict { Healthy, Degraded, Failed, Unknown }
    Role = pb::types::Role as WireRole { Primary, Backup }
    OperationStatus = pb::types::OperationStatus as WireOperationStatus { Running, Succeeded, Failed }
    StepStatus = pb::types::StepStatus as WireStepStatus { Pending, Running, Done, Failed }
    ServiceMode = pb::types::ServiceMode as WireServiceMode { Normal, ReadOnly, Safe }
    GroupState = pb::agent::GroupState as WireGroupState { Installed, Acting, Ended, StartFailed, Stopping, StopFailed }
}

impl From<&Phase> for pb::types::GroupPhase {
    fn from(phase: &Phase) -> Self {
        match phase {
            Phase::Starting { .. } => Self::Starting,
            Phase::Active => Self::Active,
            Phase::Revoked { .. } => Self::Revoked,
            Phase::Deleting { .. } => Self::Deleting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Debug;

    fn round_trip<D, W>(values: &[D])
    where
        D: FromWire + Copy + PartialEq + Debug,
        W: From<D> + Into<i32>,
    {
        for value in values {
            let number: i32 = W::from(*value).into();
            assert_ne!(number, 0, "{value:?} must not be the unset value");
            assert_eq!(D::from_wire("f", number).as_ref(), Ok(value));
        }
        for bad in [0, 99, -1] {
            let refused = D::from_wire("some.field", bad).unwrap_err();
            assert_eq!(refused.field, "some.field", "{bad}");
            assert!(refused.remedy.contains("use one of "), "{refused}");
        }
    }

    #[test]
    fn every_choice_reads_back_and_refuses_unset_and_unknown_numbers() {
        round_trip::<HostStatus, WireHostStatus>(&[
            HostStatus::Online,
            HostStatus::Suspect,
            HostStatus::Offline,
        ]);
        round_trip::<Verdict, WireVerdict>(&[
            Verdict::Healthy,
            Verdict::Degraded,
            Verdict::Failed,
            Verdict::Unknown,
        ]);
        round_trip::<Role, WireRole>(&[Role::Primary, Role::Backup]);
        round_trip::<OperationStatus, WireOperationStatus>(&[
            OperationStatus::Running,
            OperationStatus::Succeeded,
            OperationStatus::Failed,
        ]);
        round_trip::<StepStatus, WireStepStatus>(&[
            StepStatus::Pending,
            StepStatus::Running,
            StepStatus::Done,
            StepStatus::Failed,
        ]);
        round_trip::<ServiceMode, WireServiceMode>(&[
            ServiceMode::Normal,
            ServiceMode::ReadOnly,
            ServiceMode::Safe,
        ]);
        round_trip::<GroupState, WireGroupState>(&[
            GroupState::Installed,
            GroupState::Acting,
            GroupState::Ended,
            GroupState::StartFailed,
            GroupState::Stopping,
            GroupState::StopFailed,
        ]);
    }

    #[test]
    fn an_assignment_never_says_fenced() {
        let refused = Role::from_wire("role", WireRole::Fenced.into()).unwrap_err();
        assert_eq!(refused.problem, "ROLE_FENCED is not meant for this field");
    }
}
