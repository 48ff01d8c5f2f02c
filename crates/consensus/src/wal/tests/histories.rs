//! Random histories against the plain model, with restarts and power loss in between.

use crate::disk::memory::{Keep, MemoryDisk};
use bytes::Bytes;
use proptest::prelude::*;

use super::{
    super::{Options, Record},
    model::Model,
    open, write,
};

#[derive(Debug, Clone)]
enum Step {
    Write(Vec<Record>),
    Restart,
    LosePower,
}

fn data(max_bytes: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..max_bytes).prop_map(Bytes::from)
}

fn record() -> impl Strategy<Value = Record> {
    prop_oneof![
        8 => (0_u64..60, data(120)).prop_map(|(index, data)| Record::Entry { index, data }),
        1 => (0_u64..60, data(1500)).prop_map(|(index, data)| Record::Entry { index, data }),
        2 => (0_u8..4, data(20)).prop_map(|(key, data)| Record::Meta { key, data }),
        2 => (0_u64..60).prop_map(|index| Record::TruncateFrom { index }),
        1 => (0_u64..60, data(10)).prop_map(|(index, data)| Record::PurgeTo { index, data }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => prop::collection::vec(record(), 0..6).prop_map(Step::Write),
        1 => Just(Step::Restart),
        1 => Just(Step::LosePower),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn holds_what_the_model_holds(
        steps in prop::collection::vec(step(), 1..80),
        segment_bytes in 200_u64..1500,
        spare_segments in 0_usize..3,
        max_free_segments in 0_usize..3,
    ) {
        let options = Options { segment_bytes, spare_segments, max_free_segments, ..Options::default() };
        let mut disk = MemoryDisk::new();
        let (mut writer, _) = open(&disk, &options).unwrap();
        let mut model = Model::default();
        for step in steps.into_iter().chain([Step::LosePower]) {
            match step {
                Step::Write(batch) => {
                    write(&mut writer, &batch).unwrap();
                    model.apply(&batch);
                    continue;
                }
                Step::Restart => {}
                Step::LosePower => disk = disk.after_crash(Keep::Units(0)),
            }
            let (reopened, recovered) = open(&disk, &options).unwrap();
            prop_assert!(model.is(&recovered), "{:?} is not {:?}", recovered, model);
            prop_assert_eq!(recovered.torn, None);
            writer = reopened;
        }
    }
}
