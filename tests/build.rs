//! Compiles the subset of etcd's API that the benches speak, without protoc.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto/etcd/etcd.proto");
    let files = protox::compile(["etcd.proto"], ["proto/etcd"])?;
    tonic_prost_build::configure().build_server(false).compile_fds(files)?;
    Ok(())
}
