//! Repairs a store, as far as a plan says.

use std::io;
use std::path::{Path, PathBuf};

use crate::checkpoint::{Checkpoint, CheckpointFiles};
use crate::clock::Clock;
use crate::engine::{lock_store, write_store_file};
use crate::error::{Error, Result};
use crate::inspect::image::{CHECKPOINTS, journal_file};
use crate::inspect::partitions::DAMAGED_SUFFIX;
use crate::inspect::pieces::{Piece, hole};
use crate::inspect::plan::{RepairPlan, RepairStep};
use crate::inspect::report::Severity;
use crate::inspect::source::{Source, name};
use crate::inspect::survey::{Rewrite, Survey};
use crate::published::{Published, PublishedEnd};
use crate::segment::{SegmentFile, SegmentId, SegmentSpec};
use crate::storage::{FileKind, OpenMode, Storage};
use crate::topic::TopicFile;
use crate::types::{Offset, TopicName};

/// Says what a repair of the store in the folder would do and what it would lose; does nothing.
///
/// Damaged batches are left out and the rest of their segment is kept: the offsets that are lost
/// are named, and stay taken by an empty batch each. Nothing that is whole is given up for the
/// sake of what is not.
///
/// # Errors
/// `NoStore`, `UnsupportedVersion`, or a failed system call.
pub fn plan_repair(storage: &dyn Storage, clock: &dyn Clock, dir: &Path) -> Result<RepairPlan> {
    Survey::make(&Source { storage, dir }, clock.now()).map(|survey| survey.plan)
}

/// Does what a plan of [`plan_repair`] says, under the store's lock. Segments that are written
/// anew are kept beside, under a name with `.damaged` at the end; nothing reads them any more.
///
/// Interrupted at any point, it leaves a store that can be planned for and repaired again.
///
/// # Errors
/// `Locked`; `InvalidState` if the store is not as it was when the plan was made, or beyond
/// repair; or a failed system call.
pub fn repair(
    storage: &dyn Storage,
    clock: &dyn Clock,
    dir: &Path,
    plan: &RepairPlan,
) -> Result<()> {
    let _lock = lock_store(storage, dir)?;
    let source = Source { storage, dir };
    let survey = Survey::make(&source, clock.now())?;
    let refused =
        |reason: &str| Err(Error::InvalidState { operation: "repair", reason: reason.to_owned() });
    if survey.plan != *plan {
        return refused("the store has changed since the plan was made: make another");
    }
    if !plan.beyond_repair.is_empty() {
        return refused(&plan.beyond_repair.join("; "));
    }
    Repairer { source, survey }.run()
}

struct Repairer<'a> {
    source: Source<'a>,
    survey: Survey,
}

impl Repairer<'_> {
    fn run(&self) -> Result<()> {
        for rewrite in &self.survey.rewrites {
            self.rewrite(rewrite)?;
        }
        for step in &self.survey.plan.steps {
            match step {
                // All rewrites come first: until the checkpoint is written they can be repeated.
                RepairStep::RewriteSegment { .. } | RepairStep::AbandonJournal { .. } => {}
                RepairStep::RestoreStore { .. } => self.restore_store()?,
                RepairStep::RestoreTopic { topic, .. } => self.restore_topic(topic)?,
                RepairStep::RemoveIndex { path } => self.remove_index(path)?,
                RepairStep::RestoreJournal { bytes } => self.restore_journal(*bytes)?,
                RepairStep::WriteCheckpoint { .. } => self.write_checkpoints()?,
                RepairStep::WritePublished => self.write_published()?,
            }
        }
        Ok(())
    }

    fn path(&self, path: &Path) -> PathBuf {
        self.source.dir.join(path)
    }

    /// Puts what is in the place of a file that is written anew aside, under a free name.
    fn put_aside(&self, path: &Path, to: &Path) -> Result<()> {
        if self.source.kind(path)?.is_none() {
            return Ok(());
        }
        let mut aside = to.with_file_name(format!("{}{DAMAGED_SUFFIX}", name(to)));
        let mut number = 1;
        while self.source.kind(&aside)?.is_some() {
            aside = to.with_file_name(format!("{}{DAMAGED_SUFFIX}.{number}", name(to)));
            number += 1;
        }
        let from = self.path(path);
        let renamed = self.source.storage.rename(&from, &self.path(&aside));
        renamed.map_err(|e| Error::io("rename", &from, e))
    }

    /// Puts aside what is no regular file.
    fn make_way(&self, path: &Path) -> Result<()> {
        match self.source.kind(path)? {
            None | Some(FileKind::File) => Ok(()),
            // Out of the folder of topics, where it would pass for one.
            Some(_) => {
                let to: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
                self.put_aside(path, Path::new(&to.join(".")))
            }
        }
    }

    fn rewrite(&self, rewrite: &Rewrite) -> Result<()> {
        let path = self.path(&rewrite.path);
        let failed = |e: io::Error| Error::io("rewrite", &path, e);
        let storage = self.source.storage;
        let dir = path.parent().unwrap_or(self.source.dir);
        storage.create_dir(dir).map_err(failed)?;
        let old = self.source.open(&rewrite.path, Severity::Data).ok();
        let fresh = path.with_extension("repair");
        let file = storage.open(&fresh, OpenMode::Create).map_err(failed)?;
        file.truncate(0).map_err(failed)?;
        let mut position = 0;
        let mut put = |bytes: &[u8]| {
            file.write(position, bytes).map_err(failed)?;
            position += bytes.len() as u64;
            Ok::<(), Error>(())
        };
        let tail = old.as_ref().map_or(0, |old| old.len);
        let tail = rewrite.tail.map(|from| Piece::Keep(from..tail.max(from)));
        let mut old = old;
        for piece in rewrite.pieces.iter().chain(&tail) {
            match (piece, &mut old) {
                (Piece::Lose(offsets), _) => put(&hole(&rewrite.place, offsets))?,
                (Piece::Keep(range), Some(old)) => {
                    let mut at = range.start;
                    while at < range.end {
                        let len = usize::try_from(range.end - at).unwrap_or(usize::MAX);
                        let bytes = old.get(at, len.min(1 << 20)).map_err(failed)?;
                        put(&bytes)?;
                        at += bytes.len() as u64;
                    }
                }
                (Piece::Keep(_), None) => {}
            }
        }
        file.sync().map_err(failed)?;
        self.put_aside(&rewrite.path, &rewrite.path)?;
        storage.rename(&fresh, &path).map_err(failed)?;
        if let Some((id, _)) = SegmentId::parse_file_name(name(&rewrite.path)) {
            self.remove_index_files(&rewrite.path, id)?;
        }
        storage.sync_dir(dir).map_err(failed)
    }

    fn remove_index(&self, path: &Path) -> Result<()> {
        let id = SegmentId::parse_file_name(name(path));
        id.map_or(Ok(()), |(id, _)| self.remove_index_files(path, id))
    }

    fn remove_index_files(&self, path: &Path, id: SegmentId) -> Result<()> {
        for file in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
            let path = path.with_file_name(id.file_name(file));
            match self.source.kind(&path)? {
                None => {}
                Some(FileKind::File) => {
                    let path = self.path(&path);
                    self.source.storage.remove(&path).map_err(|e| Error::io("remove", &path, e))?;
                }
                Some(_) => self.put_aside(&path, &path)?,
            }
        }
        Ok(())
    }

    fn restore_store(&self) -> Result<()> {
        self.make_way(Path::new("store"))?;
        let id = self.survey.image.store_id.expect("a plan without an id is beyond repair");
        write_store_file(self.source.storage, self.source.dir, id)
    }

    fn restore_topic(&self, topic: &TopicName) -> Result<()> {
        let file: &TopicFile =
            self.survey.image.topics.get(topic).expect("the plan has made it up");
        self.make_way(&crate::topic::topics_dir(Path::new("")).join(topic.as_str()))?;
        file.write(self.source.storage, self.source.dir, topic)
    }

    fn restore_journal(&self, bytes: u64) -> Result<()> {
        let path = self.path(&journal_file());
        self.make_way(&journal_file())?;
        let restored = || {
            let storage = self.source.storage;
            let dir = path.parent().unwrap_or(self.source.dir);
            storage.create_dir(dir)?;
            let file = storage.open(&path, OpenMode::Create)?;
            if file.size()? > bytes {
                file.truncate(bytes)?;
            }
            file.reserve(bytes)?;
            file.sync()?;
            storage.sync_dir(dir)
        };
        restored().map_err(|e| Error::io("restore", &path, e))
    }

    fn write_published(&self) -> Result<()> {
        self.make_way(Path::new("published"))?;
        let id = self.survey.image.store_id.expect("a plan without an id is beyond repair");
        let published = Published::create(self.source.storage, self.source.dir, id)?;
        let marks = self.survey.checkpoint.iter().flat_map(|checkpoint| &checkpoint.partitions);
        let mut ends = Vec::new();
        for mark in marks {
            let active = mark.segments.last().copied();
            let active = active.unwrap_or(SegmentSpec::empty(Offset::ZERO));
            let end = PublishedEnd {
                topic_id: mark.topic_id,
                partition: mark.partition,
                start: mark.start,
                segment_base: active.id.base,
                segment_end: active.end,
            };
            ends.push((published.add(&end)?, end));
        }
        published.reveal(self.source.storage, self.source.dir, &ends)
    }

    fn write_checkpoints(&self) -> Result<()> {
        let Some(checkpoint) = &self.survey.checkpoint else { return Ok(()) };
        for name in CHECKPOINTS {
            self.make_way(Path::new(name))?;
        }
        let files = CheckpointFiles::create(self.source.storage, self.source.dir)?;
        // Twice, so that both copies say the same.
        for step in 1..=2 {
            let generation = checkpoint.generation + step;
            files.write(&Checkpoint { generation, ..checkpoint.clone() })?;
        }
        let dir = self.source.dir;
        self.source.storage.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))
    }
}
