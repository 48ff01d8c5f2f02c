//! I/O errors at every step: no acknowledgement after one, and nothing lost that was acknowledged before.

use std::sync::{Arc, Mutex};

use super::{
    super::{Options, Recovered, Wal, WalError},
    crash::{run, workload},
    entry,
    model::Model,
    open, small,
};
use crate::disk::memory::{Fault, Keep, MemoryDisk};

/// Number of an append, and what became of it.
type Answer = (usize, Result<(), WalError>);

#[test]
fn finds_every_acknowledged_batch_after_an_error_at_any_step() {
    let (batches, options) = (workload(), small());
    let states = Model::states(&batches);
    let clean = MemoryDisk::new();
    run(&clean, &options, &batches);
    for step in 1..=clean.steps() {
        let storage = MemoryDisk::new().with_fault(Fault::FailAt(step));
        let (handed, acknowledged) = run(&storage, &options, &batches);
        let fits = |recovered: &Recovered| (acknowledged..=handed).any(|count| states[count].is(recovered));

        // Power lost right after the error.
        for keep in [Keep::Units(0), Keep::Units(storage.pending_units() / 2), Keep::Units(usize::MAX)] {
            let (_, recovered) = open(&storage.after_crash(keep), &options).unwrap();
            assert!(fits(&recovered), "step {step}, {keep:?}");
        }
        // The process starts again, sees what is in the page cache, and then power is lost.
        storage.set_fault(Fault::Never);
        let (_, served) = open(&storage, &options).unwrap();
        assert!(fits(&served), "step {step}");
        let (_, found) = open(&storage.after_crash(Keep::Units(0)), &options).unwrap();
        assert_eq!((found.entries, found.metas, found.purged), (served.entries, served.metas, served.purged));
    }
}

#[test]
fn answers_every_append_after_the_first_error_with_that_error() {
    let options = Options { max_batch_bytes: 300, ..small() };
    let batches = workload();
    let states = Model::states(&batches);
    let mut failed_runs = 0;
    for step in 1..150 {
        let storage = MemoryDisk::new().with_fault(Fault::FailAt(step));
        let opened = Wal::open_locked(storage.folder(), None, &options);
        let Ok((wal, _)) = opened else { continue };
        let answers: Arc<Mutex<Vec<Answer>>> = Arc::default();
        for (number, batch) in batches.iter().enumerate() {
            let answers = Arc::clone(&answers);
            wal.append(batch.clone(), move |result| answers.lock().unwrap().push((number, result)));
        }
        let closed = wal.close();
        let answers = std::mem::take(&mut *answers.lock().unwrap());
        let order: Vec<usize> = answers.iter().map(|(number, _)| *number).collect();
        assert_eq!(order, (0..batches.len()).collect::<Vec<_>>(), "every append is answered, in order");
        let acknowledged = answers.iter().take_while(|(_, result)| result.is_ok()).count();
        let errors: Vec<String> = answers[acknowledged..]
            .iter()
            .map(|(_, result)| result.clone().unwrap_err().to_string())
            .collect();
        if let Some(first) = errors.first() {
            failed_runs += 1;
            assert!(errors.iter().all(|error| error == first), "always the first error: {errors:?}");
            assert_eq!(closed.unwrap_err().to_string(), *first);
        }
        storage.set_fault(Fault::Never);
        let (_, recovered) = open(&storage, &options).unwrap();
        // The batch that failed may hold several appends: all of them are there, or none.
        assert!(states[acknowledged..].iter().any(|state| state.is(&recovered)), "step {step}");
    }
    assert!(failed_runs > 50, "{failed_runs}");
}

#[test]
fn tells_its_failure_and_refuses_later_appends() {
    let storage = MemoryDisk::new();
    let options = Options { spare_segments: 0, ..small() };
    let (wal, _) = Wal::open_locked(storage.folder(), None, &options).unwrap();
    wal.append_and_wait(vec![entry(1, 10)]).unwrap();
    assert!(wal.failure().is_none());
    storage.set_fault(Fault::FailAt(2));
    let first = wal.append_and_wait(vec![entry(2, 10)]).unwrap_err();
    assert!(first.to_string().starts_with("could not sync /memory/00000000000000000001.wal"), "{first}");
    assert_eq!(wal.failure().unwrap().to_string(), first.to_string());
    let steps = storage.steps();
    assert_eq!(wal.append_and_wait(vec![entry(3, 10)]).unwrap_err().to_string(), first.to_string());
    assert_eq!(storage.steps(), steps, "the disk is not touched again");
}
