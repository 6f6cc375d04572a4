//! A topic, and the small file that says it exists.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::TopicConfig;
use crate::error::{Error, Result};
use crate::layout::{Fields, checked, put_checksum, put_string};
use crate::log::TopicDescription;
use crate::partition::Partition;
use crate::storage::{OpenMode, Storage};
use crate::types::{PartitionId, TopicName, TopicPartition};

const MAGIC: u32 = 0x4857_5450;
const VERSION: u16 = 1;

/// A topic that is open.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: TopicName,
    pub(crate) id: u64,
    pub(crate) config: Arc<TopicConfig>,
    pub(crate) partitions: Vec<Arc<Partition>>,
}

impl Topic {
    /// The partition of that number.
    #[inline]
    pub(crate) fn partition(&self, partition: PartitionId) -> Result<&Arc<Partition>> {
        self.partitions.get(partition.index()).ok_or_else(|| Error::UnknownPartition {
            topic_partition: TopicPartition::new(self.name.clone(), partition),
            partitions: self.partition_count(),
        })
    }

    /// How many partitions it has.
    pub(crate) fn partition_count(&self) -> u32 {
        u32::try_from(self.partitions.len()).expect("counts partitions that are numbered in u32")
    }

    /// What it is.
    pub(crate) fn describe(&self) -> TopicDescription {
        TopicDescription {
            name: self.name.clone(),
            partitions: self.partition_count(),
            configs: self.config.given.clone(),
        }
    }
}

/// What the file of a topic says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicFile {
    pub(crate) id: u64,
    pub(crate) partitions: u32,
    pub(crate) configs: BTreeMap<String, String>,
}

/// What a topic's file is called from its deletion on until all of the topic is gone.
pub(crate) fn deleted_name(name: &TopicName) -> String {
    format!("~{name}")
}

/// The topic that a file of such a name is of; none for other names.
pub(crate) fn parse_deleted_name(file_name: &str) -> Option<TopicName> {
    TopicName::new(file_name.strip_prefix('~')?).ok()
}

/// The folder of the topics' files.
pub(crate) fn topics_dir(dir: &Path) -> PathBuf {
    dir.join("topics")
}

impl TopicFile {
    /// Writes the file so that it is there whole or not at all. From then on the topic exists.
    pub(crate) fn write(&self, storage: &dyn Storage, dir: &Path, name: &TopicName) -> Result<()> {
        let bytes = self.encode()?;
        let topics = topics_dir(dir);
        let path = topics.join(name.as_str());
        // No topic can have this name, so no topic's file is in the way.
        let fresh = topics.join("~");
        let file = storage.open(&fresh, OpenMode::Create).and_then(|file| {
            file.truncate(0)?;
            file.write(0, &bytes)?;
            Ok(file)
        });
        let file = file.map_err(|e| Error::io("write", &fresh, e))?;
        file.sync().map_err(|e| Error::io("sync", &fresh, e))?;
        storage.rename(&fresh, &path).map_err(|e| Error::io("rename", &fresh, e))?;
        storage.sync_dir(&topics).map_err(|e| Error::io("sync", &topics, e))
    }

    /// Reads the file of a topic.
    pub(crate) fn read(storage: &dyn Storage, dir: &Path, name: &str) -> Result<Self> {
        let path = topics_dir(dir).join(name);
        let read = storage.open(&path, OpenMode::Read).and_then(|file| {
            let len = usize::try_from(file.size()?).unwrap_or(usize::MAX);
            file.read(0, len)
        });
        Self::parse(path.clone(), &read.map_err(|e| Error::io("read", &path, e))?)
    }

    /// Reads the bytes of the file of a topic.
    ///
    /// # Errors
    /// `UnsupportedVersion` or `CorruptFile`.
    pub(crate) fn parse(path: PathBuf, bytes: &[u8]) -> Result<Self> {
        // The checksum comes first: a damaged version is damage and not news.
        let mut fields = Fields::new(checked(bytes).unwrap_or_default());
        let magic = fields.u32();
        let version = fields.u16().unwrap_or_default();
        if magic == Some(MAGIC) && version > VERSION {
            let (found, supported) = (version.into(), VERSION.into());
            return Err(Error::UnsupportedVersion { path, found, supported });
        }
        Self::decode(fields.rest()).filter(|_| magic == Some(MAGIC)).ok_or_else(|| {
            Error::CorruptFile { path, reason: "its checksum does not match".to_owned() }
        })
    }

    /// The bytes of the file.
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&MAGIC.to_be_bytes());
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.extend_from_slice(&self.id.to_be_bytes());
        bytes.extend_from_slice(&self.partitions.to_be_bytes());
        let count = u32::try_from(self.configs.len()).expect("there are a few dozen configs");
        bytes.extend_from_slice(&count.to_be_bytes());
        for (key, value) in &self.configs {
            if !put_string(&mut bytes, key) || !put_string(&mut bytes, value) {
                return Err(Error::InvalidConfig {
                    key: key.clone(),
                    value: value.clone(),
                    reason: "it is longer than 65535 bytes".to_owned(),
                });
            }
        }
        put_checksum(&mut bytes);
        Ok(bytes)
    }

    fn decode(content: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(content);
        let (id, partitions) = (fields.u64()?, fields.u32()?);
        let mut configs = BTreeMap::new();
        for _ in 0..fields.u32()? {
            configs.insert(fields.string()?.to_owned(), fields.string()?.to_owned());
        }
        fields.rest().is_empty().then_some(Self { id, partitions, configs })
    }
}

#[cfg(test)]
mod tests {
    use super::{TopicFile, topics_dir};
    use crate::storage::{MemoryStorage, OpenMode, Storage};
    use crate::types::TopicName;
    use std::collections::BTreeMap;
    use std::path::Path;

    #[test]
    fn a_topics_file_reads_back_and_damage_is_named() {
        let (storage, dir) = (MemoryStorage::new(), Path::new("store"));
        let configs = BTreeMap::from([("segment.bytes".to_owned(), "2048".to_owned())]);
        let file = TopicFile { id: 7, partitions: 3, configs };
        file.write(&storage, dir, &TopicName::new("orders").unwrap()).unwrap();
        assert_eq!(TopicFile::read(&storage, dir, "orders").unwrap(), file);
        let path = topics_dir(dir).join("orders");
        storage.open(&path, OpenMode::Write).unwrap().write(9, &[9]).unwrap();
        let error = TopicFile::read(&storage, dir, "orders").unwrap_err().to_string();
        assert!(error.contains("orders cannot be used"), "{error}");
    }
}
