//! Shows what a topology does, record by record.

use std::error::Error;
use std::io::Write;

use headwater::topology::{TestOutputTopic, TopologyTestDriver};

type Text = Option<String>;

/// A topology whose topics hold text, and where to write what it does.
pub(crate) struct Steps<'a> {
    pub(crate) driver: &'a TopologyTestDriver,
    topics: Vec<(&'static str, TestOutputTopic<Text, Text>)>,
    out: &'a mut dyn Write,
}

impl<'a> Steps<'a> {
    pub(crate) fn new(
        driver: &'a TopologyTestDriver,
        topics: &[&'static str],
        out: &'a mut dyn Write,
    ) -> Result<Self, Box<dyn Error>> {
        let open = |topic: &&'static str| Ok((*topic, driver.output_topic(topic)?));
        let topics = topics.iter().map(open).collect::<Result<_, Box<dyn Error>>>()?;
        Ok(Self { driver, topics, out })
    }

    /// Writes a record into a topic, and shows what follows from it; `None` is a null.
    pub(crate) fn send<'v>(
        &mut self,
        topic: &str,
        key: &str,
        value: impl Into<Option<&'v str>>,
        time_ms: i64,
    ) -> Result<(), Box<dyn Error>> {
        let value: Text = value.into().map(str::to_owned);
        writeln!(self.out, "{topic}: {}", line(key, value.as_deref(), time_ms))?;
        let key = key.to_owned();
        self.driver.input_topic::<Text, Text>(topic).pipe_input_at(key, value, time_ms)?;
        for (topic, records) in &self.topics {
            for (key, value, time_ms) in records.read_timed()? {
                let key = key.unwrap_or_default();
                writeln!(self.out, "    {topic}: {}", line(&key, value.as_deref(), time_ms))?;
            }
        }
        Ok(())
    }
}

fn line(key: &str, value: Option<&str>, time_ms: i64) -> String {
    format!("{key} = {} @{time_ms}", value.unwrap_or("null"))
}
