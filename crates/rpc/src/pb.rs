//! The generated protobuf types and gRPC services, one module per package.
//!
//! Architecture invariant: nothing is written by hand here, and only [`convert`](crate::convert) turns these types
//! into domain values or back.

/// Mirrors the packages, since generated code refers to its neighbours by relative paths.
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    rustdoc::all
)]
mod quorate {
    pub mod types {
        pub mod v1 {
            tonic::include_proto!("quorate.types.v1");
        }
    }
    pub mod control {
        pub mod v1 {
            tonic::include_proto!("quorate.control.v1");
        }
    }
    pub mod agent {
        pub mod v1 {
            tonic::include_proto!("quorate.agent.v1");
        }
    }
    pub mod raft {
        pub mod v1 {
            tonic::include_proto!("quorate.raft.v1");
        }
    }
}

pub use quorate::{agent::v1 as agent, control::v1 as control, raft::v1 as raft, types::v1 as types};

/// Describes every message and service, for the reflection service.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/quorate_descriptor.bin"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_descriptor_set_describes_every_package() {
        let holds = |text: &str| FILE_DESCRIPTOR_SET.windows(text.len()).any(|part| part == text.as_bytes());
        for word in ["quorate.types.v1", "quorate.control.v1", "quorate.agent.v1", "quorate.raft.v1"] {
            assert!(holds(word), "{word}");
        }
        assert!(holds("AgentGateway") && holds("LocalAgent"));
    }
}
