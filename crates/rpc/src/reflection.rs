//! The reflection services: whoever has no protos of ours asks what a server speaks.

use crate::pb::FILE_DESCRIPTOR_SET;
use tonic::service::Routes;
use tonic_reflection::server::Builder;

pub use tonic_reflection::server::Error as ReflectionError;

/// The names that reflection itself is asked under.
const ITSELF: [&str; 2] = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

/// Both versions of the service, for older clients too. They list these services and describe every message of ours, the
/// standard health service, and the standard details of errors (`google.rpc`), which clients find in statuses.
///
/// # Errors
/// [`ReflectionError`] when a description is damaged, which only a broken build has.
pub fn reflection<'a>(services: impl IntoIterator<Item = &'a str>) -> Result<Routes, ReflectionError> {
    let services: Vec<&str> = services.into_iter().chain(ITSELF).collect();
    let builder = || {
        let described = Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET);
        services.iter().fold(described, |builder, name| builder.with_service_name(*name))
    };
    Ok(Routes::new(builder().build_v1()?).add_service(builder().build_v1alpha()?))
}
