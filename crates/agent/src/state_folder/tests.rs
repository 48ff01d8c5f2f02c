//! What starts find in a folder, and what is refused.

use super::*;

fn host(name: &str) -> HostId {
    HostId::new(name).unwrap()
}

fn epochs() -> DurableEpochs {
    let group = GroupId::new("g").unwrap();
    DurableEpochs {
        highest: [(group.clone(), Epoch(7))].into(),
        primary_of: [(group.clone(), Epoch(7))].into(),
        guarded: [((group, Epoch(7)), Seat { uid: 7, ..Seat::default() })].into(),
        lease_ms: 2_000,
        demotion_ms: 10_000,
        hookless: false,
        ..DurableEpochs::default()
    }
}

#[test]
fn each_start_counts_and_keeps_what_was_stored() {
    let dir = tempfile::tempdir().unwrap();
    let (mut state, first) = StateFolder::open(dir.path(), &host("h1"), 0).unwrap();
    assert_eq!((state.identity().incarnation, first), (Incarnation(1), DurableEpochs::default()));
    let cluster = ClusterId::new("c").unwrap();
    state.learn_cluster(&cluster, Some(&FormationId::of(1))).unwrap();
    state.record_disk(&DiskName::new("d").unwrap(), "abc").unwrap();
    state.store_epochs(&epochs()).unwrap();
    let before = state.identity().clone();
    drop(state);
    let (state, stored) = StateFolder::open(dir.path(), &host("h1"), 0).unwrap();
    assert_eq!(stored, epochs());
    assert_eq!(*state.identity(), Identity { incarnation: Incarnation(2), ..before });
}

#[test]
fn a_later_start_knows_the_coordinators_and_a_folder_from_before_there_were_any_opens() {
    let folder = tempfile::tempdir().unwrap();
    let (mut state, _) = StateFolder::open(folder.path(), &host("h1"), 0).unwrap();
    state.learn_coordinators(vec!["c4:1".into()]).unwrap();
    drop(state);
    let (state, _) = StateFolder::open(folder.path(), &host("h1"), 0).unwrap();
    assert_eq!(state.identity().coordinators, ["c4:1"]);
    let mut older = serde_json::to_value(state.identity()).unwrap();
    drop(state);
    older.as_object_mut().unwrap().remove("coordinators");
    write_file(folder.path(), IDENTITY, &older).unwrap();
    let (state, _) = StateFolder::open(folder.path(), &host("h1"), 0).unwrap();
    assert!(state.identity().coordinators.is_empty());
}

#[test]
fn a_formation_is_learnt_once_also_by_a_folder_from_before_there_were_any() {
    let folder = tempfile::tempdir().unwrap();
    let (cluster, formation) = (ClusterId::new("c").unwrap(), FormationId::of(1));
    let (mut state, _) = StateFolder::open(folder.path(), &host("h1"), 0).unwrap();
    state.learn_cluster(&cluster, None).unwrap();
    let mut older = serde_json::to_value(state.identity()).unwrap();
    drop(state);
    older.as_object_mut().unwrap().remove("formation");
    write_file(folder.path(), IDENTITY, &older).unwrap();

    let (mut state, _) = StateFolder::open(folder.path(), &host("h1"), 0).unwrap();
    assert_eq!(state.identity().formation, None);
    state.learn_cluster(&cluster, Some(&formation)).unwrap();
    let another = state.learn_cluster(&cluster, Some(&FormationId::of(2))).unwrap_err();
    assert!(another.to_string().contains(formation.as_str()), "{another}");
    // A leader that says none takes nothing back.
    state.learn_cluster(&cluster, None).unwrap();
    drop(state);
    let (state, _) = StateFolder::open(folder.path(), &host("h1"), 0).unwrap();
    assert_eq!(state.identity().formation, Some(formation));
}

#[test]
fn a_second_process_on_the_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _held = StateFolder::open(dir.path(), &host("h1"), 0).unwrap();
    let error = StateFolder::open(dir.path(), &host("h1"), 0).unwrap_err();
    assert!(matches!(error, StateError::InUse { .. }));
    assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
}

#[test]
fn the_folder_of_another_host_or_cluster_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut state, _) = StateFolder::open(dir.path(), &host("h1"), 0).unwrap();
    let (c1, c2) = (ClusterId::new("c1").unwrap(), ClusterId::new("c2").unwrap());
    state.learn_cluster(&c1, None).unwrap();
    assert!(matches!(state.learn_cluster(&c2, None), Err(StateError::OtherCluster { .. })));
    drop(state);
    let error = StateFolder::open(dir.path(), &host("h2"), 0).unwrap_err();
    assert!(error.to_string().contains("belongs to host h1, not h2"), "{error}");
}

#[test]
fn a_copy_of_a_folder_is_told_from_the_folder_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (original, copy) = (dir.path().join("original"), dir.path().join("copy"));
    let (state, _) = StateFolder::open(&original, &host("h1"), 5).unwrap();
    state.store_epochs(&epochs()).unwrap();
    fs::create_dir(&copy).unwrap();
    for name in [IDENTITY, EPOCHS] {
        fs::copy(original.join(name), copy.join(name)).unwrap();
    }
    let (copied, left) = StateFolder::open(&copy, &host("h1"), 7).unwrap();
    assert_eq!(left, epochs().moved());
    assert!(copied.identity().incarnation > state.identity().incarnation);
    drop((state, copied));
    let (_, again) = StateFolder::open(&copy, &host("h1"), 8).unwrap();
    assert_eq!(again, epochs().moved(), "the second start in the new place knows it too");
    assert_eq!(StateFolder::open(&original, &host("h1"), 9).unwrap().1, epochs());
}

#[test]
fn an_incarnation_rises_above_the_recorded_one_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let (mut state, _) = StateFolder::open(dir.path(), &host("h1"), 0).unwrap();
    assert_eq!(state.raise_incarnation(Incarnation(41)).unwrap(), Incarnation(42));
    assert_eq!(state.raise_incarnation(Incarnation(3)).unwrap(), Incarnation(43));
    drop(state);
    let (state, _) = StateFolder::open(dir.path(), &host("h1"), 0).unwrap();
    assert_eq!(state.identity().incarnation, Incarnation(44));
}

#[test]
fn no_start_follows_on_a_folder_whose_host_was_taken_away_unless_it_was_by_a_start_on_that_very_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (mut state, _) = StateFolder::open(dir.path(), &host("h1"), 0).unwrap();
    let later = Identity { incarnation: Incarnation(9), ..state.identity().clone() };
    write_file(dir.path(), IDENTITY, &later).unwrap();
    state.supersede().unwrap();
    drop(state);
    let (mut state, _) = StateFolder::open(dir.path(), &host("h1"), 0).unwrap();
    state.supersede().unwrap();
    drop(state);
    let error = StateFolder::open(dir.path(), &host("h1"), 0).unwrap_err();
    assert!(matches!(error, StateError::Superseded { .. }), "{error}");
    assert!(error.to_string().contains("remove this folder"), "{error}");
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused_with_the_file_and_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = StateFolder::open(dir.path(), &host("h1"), 0).unwrap();
    state.store_epochs(&epochs()).unwrap();
    let file = dir.path().join(EPOCHS);
    let good = fs::read(&file).unwrap();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        fs::write(&file, &bad).unwrap();
        // The case of a hexadecimal digit of the checksum says the same thing.
        let same = bad.eq_ignore_ascii_case(&good);
        match read_epochs(dir.path()) {
            Ok(read) => assert!(same && read == epochs(), "bit {bit} went unnoticed"),
            Err(error) => assert!(error.to_string().contains("epochs.json"), "{error}"),
        }
    }
    for length in 0..good.len() {
        fs::write(&file, &good[..length]).unwrap();
        let error = read_epochs(dir.path()).unwrap_err();
        assert!(error.to_string().contains("restore the file"), "{length}: {error}");
    }
    fs::remove_file(&file).unwrap();
    drop(state);
    let error = StateFolder::open(dir.path(), &host("h1"), 0).unwrap_err();
    assert!(error.to_string().contains("missing beside an identity"), "{error}");
}

#[test]
fn a_crash_before_the_rename_leaves_what_was_stored() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = StateFolder::open(dir.path(), &host("h1"), 0).unwrap();
    state.store_epochs(&epochs()).unwrap();
    drop(state);
    fs::write(dir.path().join("epochs.json.new"), b"quorate-agent for").unwrap();
    fs::write(dir.path().join("identity.json.new"), b"").unwrap();
    let (state, stored) = StateFolder::open(dir.path(), &host("h1"), 0).unwrap();
    assert_eq!((state.identity().incarnation, stored), (Incarnation(2), epochs()));
}

#[test]
fn a_later_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(IDENTITY), "quorate-agent format=2 bytes=0 crc32=00000000\n").unwrap();
    let error = StateFolder::open(dir.path(), &host("h1"), 0).unwrap_err();
    assert!(matches!(error, StateError::NewerFormat { found: 2, .. }), "{error}");
}

#[test]
fn a_folder_that_is_not_as_it_was_left_says_what_is_wrong_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = StateFolder::open(dir.path(), &host("h1"), 0).unwrap();
    assert_eq!(state.problem(), None);
    let problem = |file: &str, word: &str| {
        let (there, away) = (dir.path().join(file), dir.path().join("away"));
        fs::rename(&there, &away).unwrap();
        let told = state.problem().unwrap();
        assert!(told.contains(file) && told.contains(word), "{told}");
        fs::rename(&away, &there).unwrap();
        assert_eq!(state.problem(), None);
    };
    problem(LOCK, "No such file");
    problem(IDENTITY, "gone");
    problem(EPOCHS, "gone");
    let other = Identity { incarnation: Incarnation(9), ..state.identity().clone() };
    write_file(dir.path(), IDENTITY, &other).unwrap();
    assert!(state.problem().unwrap().contains("somebody else"));
}
