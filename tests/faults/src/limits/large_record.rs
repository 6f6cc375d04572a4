//! A record of a gibibyte is refused before a byte of it is written.

use std::path::Path;

use headwater_log_store::{Error, Log as _, ProducerConfig, ProducerRecord, Record};

use crate::failure::{Context as _, Promise as _, Result, violation};
use crate::limits::full_disk::{check, create, partition, settings};
use crate::store::Acknowledge;
use crate::tally::Tally;

const RECORD_BYTES: usize = 1 << 30;

/// Tries every way in.
pub(crate) fn run(dir: &Path, tally: &mut Tally) -> Result {
    let value = vec![0; RECORD_BYTES];
    for (nth, acknowledge) in Acknowledge::ALL.into_iter().enumerate() {
        let dir = dir.join(format!("large-{nth}"));
        let store = create(&settings(acknowledge), &dir)?;
        let before = bytes_in(&dir)?;
        let record = Record::value(&value);
        let sent = |transaction: bool| {
            let transactional_id = transaction.then(|| "t".to_owned());
            let mut producer =
                store.producer(&ProducerConfig { transactional_id, ..Default::default() })?;
            if transaction {
                producer.begin_transaction()?;
            }
            let topic = partition().topic;
            producer
                .send(&ProducerRecord { value: Some(&value), ..ProducerRecord::to(topic.as_str()) })
        };
        for refused in [
            store.append(&partition(), &record).map(drop),
            store.append_batch(&partition(), &[Record::value(b"small"), record]).map(drop),
            sent(false).map(drop),
            sent(true).map(drop),
        ] {
            match refused {
                Err(Error::RecordTooLarge { bytes, .. }) if bytes > RECORD_BYTES => {}
                other => return violation(format!("a record of a gibibyte: {other:?}")),
            }
            tally.count("gibibytes refused");
        }
        check(&store, 0, 0)?;
        if bytes_in(&dir)? != before {
            return violation("a record that was refused has changed the size of the store");
        }
        store.close().promised("a close")?;
    }
    Ok(())
}

/// How many bytes the files of a store take.
fn bytes_in(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).to("list a store")? {
        let entry = entry.to("list a store")?;
        let metadata = entry.metadata().to("measure a store")?;
        bytes += if metadata.is_dir() { bytes_in(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}
