//! Compiles `proto/quorate` into Rust, without protoc.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new("../../proto");
    let mut protos = Vec::new();
    collect(root, &mut protos)?;
    protos.sort();

    let mut compiler = protox::Compiler::new([root])?;
    compiler.include_imports(true).include_source_info(true).open_files(&protos)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("quorate_descriptor.bin"), compiler.encode_file_descriptor_set())?;
    let services = tonic_prost_build::configure().codec_path("crate::codec::Readable");
    services.bytes(".").compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// Finds every proto under a folder. The folders count as inputs too, so that a new file is noticed.
fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            println!("cargo::rerun-if-changed={}", path.display());
            found.push(path);
        }
    }
    Ok(())
}
