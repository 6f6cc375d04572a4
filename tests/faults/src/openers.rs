//! Two openers in two processes: the second is told who the first is.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use headwater_log_store::{Error, LogStore};

use crate::child::{Writer, this_program};
use crate::failure::{Promise as _, Result, chain, violation};
use crate::message::{Message, Recovered};
use crate::place::temporary_folder;
use crate::store::{Acknowledge, StoreSettings};
use crate::tally::Tally;

/// What a holder opens.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct HolderArgs {
    /// The folder of the store.
    #[arg(long)]
    dir: PathBuf,
    #[command(flatten)]
    store: StoreSettings,
}

/// Runs as a process that opens a store and holds it until it is killed.
pub(crate) fn hold(args: &HolderArgs) {
    match args.store.open(&args.dir) {
        Ok(store) => {
            println!("{}", Message::Opened(Recovered::from(&store.recovery())));
            // A pipe that nobody writes to: this ends with its parent at the latest.
            let mut rest = Vec::new();
            let _ = std::io::stdin().read_to_end(&mut rest);
            std::thread::park();
        }
        Err(error) => println!("{}", Message::Violation(chain(&error))),
    }
}

/// Opens a store that another process has open, and once more when that one is gone.
pub(crate) fn run() -> Result<Tally> {
    let mut tally = Tally::default();
    let folder = temporary_folder("openers")?;
    let dir = folder.path().join("store");
    for acknowledge in Acknowledge::ALL {
        let settings = StoreSettings {
            acknowledge,
            journal_bytes: 64 << 10,
            segment_bytes: 1 << 20,
            positioned: false,
            no_housekeeping: false,
            boot_id: None,
        };
        let mut arguments = vec!["holder".to_owned(), format!("--dir={}", dir.display())];
        arguments.extend(settings.arguments());
        let mut holder = Writer::start(this_program(&arguments)?)?;
        holder.listen(Duration::from_secs(60), |m| matches!(m, Message::Opened(_)))?;
        let id = holder.id().to_string();
        match settings.open(&dir) {
            Err(Error::Locked { holder, .. }) if holder.contains(&id) => tally.count("refused"),
            other => return violation(format!("process {id} has it open, and here: {other:?}")),
        }
        LogStore::open_read_only(&dir).promised("a reader beside a writer")?;
        tally.count("readers beside a writer");
        holder.kill()?;
        let store = settings.open(&dir).promised("a store whose holder was killed")?;
        // Two handles of one process are two openers as well.
        match settings.open(&dir) {
            Err(Error::Locked { .. }) => tally.count("refused"),
            other => return violation(format!("opened twice in one process: {other:?}")),
        }
        store.close().promised("a close")?;
        tally.count("opened after it was freed");
    }
    Ok(tally)
}
