//! Rows that append.

use std::sync::Barrier;

use headwater_log_store::Record;

use crate::Scale;
use crate::contender::{Class, Contender, Handles, Kind, folder, let_disk_rest, rate};
use crate::floors::{MMAP, RECYCLED, WRITE, WRITE_SYNC};
use crate::log::suite::{PEERS_D1, PEERS_D2, Plan, Suite, batch, size_name, value};

const BATCH_RECORDS: usize = 1000;
/// What a run writes at most, so that it stays in the page cache: a disk that is busy with what an
/// earlier run has left behind makes every sync of a later one slow.
const RUN_BYTES_MAX: usize = 128 << 20;
/// How often a run waits for the disk, all its handles together: more would use up what the disk
/// of a virtual machine may do in one go.
const RUN_SYNCS_MAX: usize = 400;
/// The same for a run of many handles, most of which wait for the same sync.
const SHARED_SYNCS_MAX: usize = 3200;

/// How records are appended.
#[derive(Clone, Copy, Debug)]
struct Load {
    class: Class,
    value_bytes: usize,
    batch_records: usize,
    handles: Handles,
}

/// Appends under D2, then under D1, which leaves the disk work for a while.
pub fn rows(suite: &mut Suite<'_>) {
    let d1 = Load { class: Class::D1, value_bytes: 100, batch_records: 1, handles: Handles::ONE };
    let d2 = Load { class: Class::D2, ..d1 };
    let two = Handles { count: 2, partitions: 2 };
    let many = Handles { count: 64, partitions: 16 };
    let kib = 1 << 10;
    let in_batches = |load| Load { batch_records: BATCH_RECORDS, ..load };
    row(suite, d2, (0.85, 1.1));
    row(suite, Load { value_bytes: kib, ..d2 }, (0.85, 1.1));
    row(suite, in_batches(d2), (0.6, 1.3));
    row(suite, Load { handles: many, ..d2 }, (15.0, 1.0));
    row(suite, d1, (2.5, 3.0));
    row(suite, Load { handles: two, ..d1 }, (2.5, 4.0));
    row(suite, Load { value_bytes: kib, ..d1 }, (1.5, 2.0));
    row(suite, in_batches(d1), (0.8, 1.2));
    row(suite, in_batches(Load { value_bytes: kib, ..d1 }), (0.8, 1.0));
}

fn row(suite: &mut Suite<'_>, load: Load, (goal_floor, goal_peer): (f64, f64)) {
    let Load { class, value_bytes, batch_records, handles } = load;
    let bytes = size_name(value_bytes);
    let mut name = match batch_records {
        1 => format!("append one by one, {bytes}, {class:?}"),
        records => format!("append {records} × {bytes}, {class:?}"),
    };
    match (handles.count, handles.partitions) {
        (1, 1) => {}
        (2, 2) => name += ", 2 writers, 2 partitions",
        (writers, partitions) => {
            name = format!("{writers} appenders, {partitions} partitions, {bytes}, {class:?}");
        }
    }
    let (floors, peers): (&[Kind], _) = match class {
        Class::D1 => (&[WRITE, MMAP], PEERS_D1),
        // The floor of many appenders is what each would do by itself.
        Class::D2 if handles.are_shared() => (&[WRITE_SYNC], PEERS_D2),
        Class::D2 => (&[RECYCLED, WRITE_SYNC], PEERS_D2),
    };
    let scale = suite.scale;
    let plan = Plan::rate(name, goal_floor, goal_peer);
    suite.row(plan, floors, peers, |kind| run(kind, load, scale));
}

/// Records a second, of all handles together.
fn run(kind: &Kind, load: Load, scale: Scale) -> f64 {
    let folder = folder();
    let records_max = match load.class {
        Class::D1 => RUN_BYTES_MAX / load.value_bytes,
        Class::D2 if load.handles.are_shared() => SHARED_SYNCS_MAX / load.handles.count,
        Class::D2 => RUN_SYNCS_MAX * load.batch_records,
    };
    let value = value(load.value_bytes);
    let records = batch(&value, load.batch_records);
    let mut contenders = (kind.open)(folder.path(), load.class, load.handles);
    if load.class == Class::D2 {
        let_disk_rest(folder.path());
    }
    let append = |contender: &mut dyn Contender| append(contender, &records, scale, records_max);
    if let [contender] = contenders.as_mut_slice() {
        return append(&mut **contender);
    }
    let start = Barrier::new(contenders.len());
    std::thread::scope(|scope| {
        let writers = contenders.iter_mut().map(|contender| {
            let (start, append) = (&start, &append);
            scope.spawn(move || {
                start.wait();
                append(&mut **contender)
            })
        });
        let writers: Vec<_> = writers.collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).sum()
    })
}

fn append(
    contender: &mut dyn Contender,
    records: &[Record<'_>],
    scale: Scale,
    records_max: usize,
) -> f64 {
    match records {
        [record] => rate(scale, records_max, || {
            contender.append(record);
            1
        }),
        records => rate(scale, records_max, || {
            contender.append_batch(records);
            records.len()
        }),
    }
}
