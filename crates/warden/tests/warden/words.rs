//! What is no agent, or speaks another language, is refused, and the warden lives on.

use crate::scene::Scene;
use quorate_domain::HostId;
use quorate_warden::{
    Settings,
    protocol::{FromWarden, Hello, ToWarden, VERSION},
};
use rustix::rand::{GetRandomFlags, getrandom};

pub(crate) fn refusal(message: &FromWarden) -> Option<(String, String)> {
    match message {
        FromWarden::Refused { field, problem } => Some((field.clone(), problem.clone())),
        _ => None,
    }
}

fn refused(scene: &Scene, bytes: &[u8]) -> String {
    let mut stranger = scene.connect();
    stranger.write(bytes);
    let (_, problem) = stranger.hear(refusal);
    assert!(stranger.is_closed());
    problem
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
}

#[test]
fn garbage_giants_and_other_versions_are_refused_and_the_warden_lives_on() {
    let scene = Scene::new();
    let (mut agent, _) = scene.agent(&Settings::default());
    let problem = refused(&scene, &u32::MAX.to_be_bytes());
    assert!(problem.contains("4294967295 bytes was announced"), "{problem}");
    let problem = refused(&scene, &framed(b"{]"));
    assert!(problem.contains("key must be a string"), "{problem}");
    let problem = refused(&scene, &framed(b"{\"say\":\"ping\",\"number\":1}"));
    assert!(problem.contains("it began with `ping`"), "{problem}");
    let problem = refused(&scene, &framed(b"{\"say\":\"hello\",\"version\":1}"));
    assert!(problem.contains("speaks version 1 and this warden speaks 2"), "{problem}");
    let problem = refused(&scene, &framed(b"{\"say\":\"hello\",\"version\":2,\"host\":\"-\"}"));
    assert!(problem.contains("cannot be read"), "{problem}");
    for round in 0..20 {
        let mut noise = [0_u8; 512];
        getrandom(&mut noise, GetRandomFlags::empty()).unwrap();
        // Of a length that is taken.
        noise[..2].copy_from_slice(&[0, 0]);
        let mut stranger = scene.connect();
        stranger.write(&noise);
        drop(stranger);
        agent.pings(round);
    }
}

#[test]
fn strangers_that_say_nothing_keep_no_agent_out_and_settings_that_cannot_work_are_refused() {
    let scene = Scene::new();
    let silent: Vec<_> = (0..20).map(|_| scene.connect()).collect();
    let (mut agent, _) = scene.agent(&Settings::default());
    drop(silent);
    let mut other = scene.hello(&Settings { parallel: 0, ..Settings::default() });
    assert_eq!(other.hear(refusal).0, "hooks.parallel");
    let mut other = scene.connect();
    let host = HostId::new("another").unwrap();
    let hello = Hello { version: VERSION, host, settings: Settings::default() };
    other.say(&ToWarden::Hello(Box::new(hello)));
    assert_eq!(other.hear(refusal).0, "host.id");
    agent.pings(1);
}
