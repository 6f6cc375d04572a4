//! Random cases from a seed: operators composed at random over a few topics, and records with
//! nulls, tombstones and times out of order.

use fastrand::Rng;

use crate::case::{Case, Config, Op, WindowSpec};
use crate::origin::are_ordered;
use crate::random_inputs::random_inputs;

/// What an operator gives, as far as it decides what can come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Stream,
    WindowStream,
    Table {
        versioned: bool,
    },
    /// Whether its windows close: those without an end do not.
    TimeTable {
        closes: bool,
    },
    SessionTable,
    /// Windows of a cogroup: Kafka Streams cannot join them.
    WindowedCogroup,
    Global,
}

impl Kind {
    fn is_table(self) -> bool {
        !matches!(self, Self::Stream | Self::WindowStream | Self::Global)
    }
}

struct Generator {
    rng: Rng,
    /// How many joins of streams there may still be: each multiplies the records.
    joins: u8,
    ops: Vec<Op>,
    results: Vec<(String, Kind)>,
}

const TOPICS: [&str; 4] = ["A", "B", "C", "D"];
const PREDICATES: [&str; 6] = ["starts:a", "longer:2", "even", "!even", "!null", "key:a"];
const MAPPERS: [&str; 6] = ["suffix:.", "text:!", "nullIf:b", "keyed:-", "first", "value"];
const KEYS: [&str; 5] = ["first", "value", "firstUnless:b", "const:k", "key"];
const JOINERS: [&str; 2] = ["join:+", "pair"];
const ADDERS: [&str; 4] = ["append:", "append:+", "appendDel:", "number"];

/// The case of a seed.
#[must_use]
pub fn random_case(seed: u64) -> Case {
    let rng = Rng::with_seed(seed);
    let mut generator = Generator { rng, joins: 2, ops: Vec::new(), results: Vec::new() };
    generator.add_sources();
    let steps = generator.rng.usize(1..=6);
    for _ in 0..steps {
        generator.add_step();
    }
    generator.keep_read_rows();
    generator.add_sinks();
    let Generator { mut rng, ops, .. } = generator;
    let inputs = random_inputs(&mut rng, &ops);
    let cache = rng.u8(0..5) == 0;
    let emit_interval_ms = (rng.u8(0..10) == 0).then_some(10);
    let settings = Config { cache, emit_interval_ms, ..Config::default() };
    Case { name: format!("seed {seed}"), settings, operators: ops, inputs, ..Case::default() }
}

impl Generator {
    fn add(&mut self, op: Op, kind: Kind) -> String {
        let id = format!("n{}", self.ops.len());
        self.ops.push(Op { id: id.clone(), ..op });
        self.results.push((id.clone(), kind));
        id
    }

    /// A name that no other operator has.
    fn name(&self, prefix: &str) -> Option<String> {
        Some(format!("{prefix}{}", self.ops.len()))
    }

    fn store(&self) -> Option<String> {
        self.name("st")
    }

    fn one_of<T: Copy + Default>(&mut self, of: &[T]) -> T {
        self.rng.choice(of).copied().unwrap_or_default()
    }

    fn choice(&mut self, of: &[&str]) -> Option<String> {
        self.rng.choice(of).map(|&found| found.to_owned())
    }

    fn any(&mut self, wanted: impl Fn(Kind) -> bool) -> Option<(String, Kind)> {
        let fits: Vec<_> = self.results.iter().filter(|(_, kind)| wanted(*kind)).collect();
        self.rng.choice(fits).cloned()
    }

    fn is_source(&self, id: &str) -> bool {
        self.ops.iter().any(|op| op.id == id && op.op == "table")
    }

    fn stream(&mut self) -> Option<String> {
        self.any(|kind| kind == Kind::Stream).map(|(id, _)| id)
    }

    fn add_sources(&mut self) {
        let count = self.rng.usize(2..=3);
        for topic in TOPICS.iter().take(count) {
            let topic = Some((*topic).to_owned());
            let op = |op: &str| Op { op: op.to_owned(), topic: topic.clone(), ..Op::default() };
            match self.rng.u8(0..10) {
                0..=4 => self.add(op("stream"), Kind::Stream),
                5..=6 => self.add(op("table"), Kind::Table { versioned: false }),
                7 => {
                    let store = self.store();
                    self.add(Op { store, ..op("table") }, Kind::Table { versioned: false })
                }
                8 => {
                    let (store, history) = (self.store(), Some(self.one_of(&[30, 1_000])));
                    let op = Op { store, history, ..op("table") };
                    self.add(op, Kind::Table { versioned: true })
                }
                _ => {
                    let store = self.store();
                    self.add(Op { store, ..op("globalTable") }, Kind::Global)
                }
            };
        }
        if self.stream().is_none() {
            let topic = Some("S".to_owned());
            self.add(Op { op: "stream".to_owned(), topic, ..Op::default() }, Kind::Stream);
        }
    }

    fn add_step(&mut self) {
        match self.rng.u8(0..20) {
            0..=4 => self.stateless(),
            5..=8 => self.aggregate(),
            9 => self.cogroup(),
            10..=12 => self.join_streams(),
            13..=14 => self.join_table(),
            15..=17 => self.table_step(),
            18 => self.windowed_step(),
            _ => self.foreign_key_join(),
        }
    }

    fn stateless(&mut self) {
        let Some(from) = self.stream() else { return };
        let (function, key) = (self.choice(&MAPPERS), self.choice(&KEYS));
        let op = |op: &str| Op { op: op.to_owned(), from: Some(from.clone()), ..Op::default() };
        let op = match self.rng.u8(0..14) {
            0 => Op { function: self.choice(&PREDICATES), ..op("filter") },
            1 => Op { function: self.choice(&PREDICATES), ..op("filterNot") },
            2 => Op { function, ..op("mapValues") },
            3 => Op { key, ..op("selectKey") },
            4 => Op { key, function, ..op("map") },
            5 => {
                Op { function: self.choice(&["swapAndNull", "twice", "byLetter"]), ..op("flatMap") }
            }
            6 => Op { function: self.choice(&["twice", "letters"]), ..op("flatMapValues") },
            7 => {
                let Some(with) = self.stream().filter(|with| are_ordered(&self.ops, &from, with))
                else {
                    return;
                };
                Op { with: vec![with], ..op("merge") }
            }
            8 => Op { name: self.name("rp"), ..op("repartition") },
            9 => return self.split(&from),
            10 => {
                Op { function: self.choice(&["later:3", "header:p=1", "twice"]), ..op("process") }
            }
            11 => {
                let store = self.store();
                match self.rng.u8(0..3) {
                    0 => Op { function: Some("tally".to_owned()), store, ..op("process") },
                    1 => Op { function: Some("tally".to_owned()), store, ..op("processValues") },
                    _ => Op { function: Some("sweep:10".to_owned()), store, ..op("process") },
                }
            }
            12 => Op { function: Some("keep:!".to_owned()), ..op("processValues") },
            _ => {
                let op = Op { store: self.store(), ..op("toTable") };
                self.add(op, Kind::Table { versioned: false });
                return;
            }
        };
        self.add(op, Kind::Stream);
    }

    fn split(&mut self, from: &str) {
        let branches: Vec<String> = (0..2).filter_map(|_| self.choice(&PREDICATES)).collect();
        let default = self.rng.bool();
        let id = format!("n{}", self.ops.len());
        let names = (usize::from(!default)..=branches.len()).map(|at| format!("{id}.{at}"));
        self.results.extend(names.map(|name| (name, Kind::Stream)));
        let from = Some(from.to_owned());
        self.ops.push(Op { id, op: "split".to_owned(), from, branches, default, ..Op::default() });
    }

    fn window(&mut self) -> WindowSpec {
        let grace = self.one_of(&[0, 0, 5, 20]);
        let size = self.one_of(&[5, 10, 20]);
        let kind = self.one_of(&["time", "time", "sliding", "session", "unlimited"]);
        let advance = (kind == "time" && self.rng.bool()).then_some(size / 2);
        match kind {
            "unlimited" => WindowSpec { kind: kind.to_owned(), size: 10, ..WindowSpec::default() },
            _ => WindowSpec { kind: kind.to_owned(), size, advance, grace },
        }
    }

    fn kind_of(window: Option<&WindowSpec>) -> Kind {
        match window.map(|window| window.kind.as_str()) {
            None => Kind::Table { versioned: false },
            Some("session") => Kind::SessionTable,
            Some(kind) => Kind::TimeTable { closes: kind != "unlimited" },
        }
    }

    fn aggregate(&mut self) {
        let Some(from) = self.stream() else { return };
        let window = (self.rng.u8(0..4) > 0).then(|| self.window());
        let closes = window.as_ref().is_some_and(|window| window.kind != "unlimited");
        let key = if self.rng.u8(0..3) == 0 { self.choice(&KEYS) } else { None };
        let kind = self.choice(&["count", "reduce", "aggregate", "aggregate"]);
        let function = match kind.as_deref() {
            Some("reduce") => self.choice(&["append:", "appendDel:", "last"]),
            _ => self.choice(&ADDERS),
        };
        let grouped = if self.rng.u8(0..4) == 0 { self.name("g") } else { None };
        let retention = (closes && self.rng.u8(0..4) == 0).then_some(1_000);
        let on_close = closes && self.rng.u8(0..4) == 0;
        let made = Self::kind_of(window.as_ref());
        let op = Op {
            op: "aggregate".to_owned(),
            from: Some(from),
            store: self.store(),
            kind,
            window,
            key,
            function,
            grouped,
            retention,
            on_close,
            ..Op::default()
        };
        self.add(op, made);
    }

    fn cogroup(&mut self) {
        let Some(from) = self.stream() else { return };
        let mut with: Vec<String> = Vec::new();
        for _ in 0..self.rng.usize(0..=2) {
            let Some(other) = self.stream() else { break };
            let ordered = |one: &String| are_ordered(&self.ops, one, &other);
            if with.iter().chain([&from]).all(ordered) {
                with.push(other);
            }
        }
        let fns = (0..=with.len()).filter_map(|_| self.choice(&ADDERS[..3])).collect();
        let window = self.rng.bool().then(|| self.window());
        let made = match window {
            Some(_) => Kind::WindowedCogroup,
            None => Kind::Table { versioned: false },
        };
        let (op, store) = ("cogroup".to_owned(), self.store());
        self.add(Op { op, from: Some(from), with, fns, window, store, ..Op::default() }, made);
    }

    fn join_streams(&mut self) {
        if self.joins == 0 {
            return;
        }
        self.joins -= 1;
        let (Some(left), Some(right)) = (self.stream(), self.stream()) else { return };
        if !are_ordered(&self.ops, &left, &right) {
            return;
        }
        let before = self.one_of(&[0, 5, 10, 20]);
        let after = (self.rng.u8(0..4) == 0).then(|| self.one_of(&[0, 3, 15]));
        let op = Op {
            op: "join".to_owned(),
            from: Some(left),
            with: vec![right],
            kind: self.choice(&["inner", "left", "outer"]),
            function: self.choice(&JOINERS),
            store: self.store(),
            name: if self.rng.bool() { self.name("jn") } else { None },
            before: Some(before),
            after,
            grace: self.rng.bool().then(|| self.one_of(&[1, 5, 30])),
            ..Op::default()
        };
        self.add(op, Kind::Stream);
    }

    fn join_table(&mut self) {
        let Some(left) = self.stream() else { return };
        let table = self.any(|kind| matches!(kind, Kind::Table { .. } | Kind::Global));
        let Some((right, kind)) = table.filter(|(id, _)| are_ordered(&self.ops, &left, id)) else {
            return;
        };
        let mut left = left;
        let waits = kind == Kind::Table { versioned: true } && self.is_source(&right);
        let grace = (waits && self.rng.bool()).then(|| self.one_of(&[0, 5, 20]));
        if grace.is_some() {
            // Null keys stop Kafka Streams here.
            let (op, function) = ("filterNot".to_owned(), Some("noKey".to_owned()));
            left = self.add(Op { op, from: Some(left), function, ..Op::default() }, Kind::Stream);
        }
        let op = Op {
            op: "join".to_owned(),
            from: Some(left),
            with: vec![right],
            kind: self.choice(&["inner", "left"]),
            function: self.choice(&JOINERS),
            key: if kind == Kind::Global { self.choice(&KEYS) } else { None },
            name: self.name("jt"),
            grace,
            ..Op::default()
        };
        self.add(op, Kind::Stream);
    }

    fn table_step(&mut self) {
        let Some((from, kind)) = self.any(Kind::is_table) else { return };
        let op = |op: &str| Op { op: op.to_owned(), from: Some(from.clone()), ..Op::default() };
        let plain = matches!(kind, Kind::Table { .. });
        let store = if plain && self.rng.u8(0..3) == 0 { self.store() } else { None };
        // Only what passes rows on as they are keeps their versions.
        let loses = match kind {
            Kind::Table { .. } if store.is_some() => Kind::Table { versioned: false },
            kind => kind,
        };
        match self.rng.u8(0..9) {
            0 => {
                let function = self.choice(&PREDICATES);
                self.add(Op { function, store, ..op("filter") }, loses);
            }
            1 => {
                let function = self.choice(&MAPPERS);
                self.add(Op { function, store, ..op("mapValues") }, loses);
            }
            2 => {
                let function = self.choice(&MAPPERS);
                self.add(Op { function, store, ..op("transformValues") }, loses);
            }
            3 => {
                let made = if plain { Kind::Stream } else { Kind::WindowStream };
                self.add(op("toStream"), made);
            }
            4 if kind != (Kind::Table { versioned: true }) => {
                let max_records = self.rng.bool().then(|| self.rng.u64(1..4));
                let limit = Some(self.one_of(&[0, 5, 30]));
                let name = self.name("held");
                self.add(Op { limit, max_records, name, ..op("suppress") }, kind);
            }
            5..=6 => self.join_tables(&from, kind),
            _ if plain => self.group_table(&from),
            _ => self.windowed_step(),
        }
    }

    fn join_tables(&mut self, from: &str, kind: Kind) {
        let same = |other: Kind| match kind {
            Kind::Table { .. } => matches!(other, Kind::Table { .. }),
            Kind::TimeTable { .. } => matches!(other, Kind::TimeTable { .. }),
            Kind::SessionTable => other == kind,
            _ => false,
        };
        let other = self.any(same).filter(|(id, _)| are_ordered(&self.ops, from, id));
        let Some((other, _)) = other else { return };
        let plain = matches!(kind, Kind::Table { .. });
        let op = Op {
            op: "join".to_owned(),
            from: Some(from.to_owned()),
            with: vec![other],
            kind: self.choice(&["inner", "left", "outer"]),
            function: self.choice(&JOINERS),
            store: if plain && self.rng.u8(0..3) == 0 { self.store() } else { None },
            ..Op::default()
        };
        let made = if plain { Kind::Table { versioned: false } } else { kind };
        self.add(op, made);
    }

    fn group_table(&mut self, from: &str) {
        let op = Op {
            op: "aggregate".to_owned(),
            from: Some(from.to_owned()),
            key: self.choice(&KEYS),
            function: if self.rng.bool() { self.choice(&MAPPERS) } else { None },
            kind: self.choice(&["count", "reduce", "aggregate"]),
            add: self.choice(&["append:+", "append:"]),
            subtract: self.choice(&["append:-", "append:/"]),
            store: self.store(),
            ..Op::default()
        };
        self.add(op, Kind::Table { versioned: false });
    }

    fn windowed_step(&mut self) {
        let windowed =
            self.any(|kind| matches!(kind, Kind::TimeTable { closes: true } | Kind::SessionTable));
        if self.rng.bool() {
            if let Some((from, kind)) = windowed {
                let (name, op) = (self.name("held"), "suppress".to_owned());
                self.add(Op { op, from: Some(from), name, ..Op::default() }, kind);
            }
        } else if let Some((from, _)) = self.any(|kind| kind == Kind::WindowStream) {
            let (op, key) = ("selectKey".to_owned(), Some("bracketed".to_owned()));
            self.add(Op { op, from: Some(from), key, ..Op::default() }, Kind::Stream);
        }
    }

    fn foreign_key_join(&mut self) {
        let tables = |kind| matches!(kind, Kind::Table { .. });
        let (Some((left, _)), Some((right, _))) = (self.any(tables), self.any(tables)) else {
            return;
        };
        if !are_ordered(&self.ops, &left, &right) {
            return;
        }
        let op = Op {
            op: "foreignKeyJoin".to_owned(),
            from: Some(left),
            with: vec![right],
            kind: self.choice(&["inner", "left"]),
            function: self.choice(&JOINERS),
            key: self.choice(&["first", "firstUnless:b", "value"]),
            name: self.name("fk"),
            store: if self.rng.u8(0..3) == 0 { self.store() } else { None },
            ..Op::default()
        };
        self.add(op, Kind::Table { versioned: false });
    }

    /// Here the rows of a join by a foreign key are kept only where they are asked for.
    fn keep_read_rows(&mut self) {
        let read: Vec<String> = self
            .ops
            .iter()
            .filter(|op| op.op != "toStream")
            .flat_map(|op| op.from.iter().chain(&op.with).cloned())
            .collect();
        for op in &mut self.ops {
            if op.op == "foreignKeyJoin" && read.contains(&op.id) {
                op.store.get_or_insert_with(|| format!("kept-{}", op.id));
            }
        }
    }

    /// Writes out what nobody reads, and some of the rest, each to a topic of its own.
    fn add_sinks(&mut self) {
        for (id, kind) in self.results.clone() {
            let is_read =
                self.ops.iter().any(|op| op.from.as_ref() == Some(&id) || op.with.contains(&id));
            if kind == Kind::Global || is_read && self.rng.u8(0..4) > 0 {
                continue;
            }
            let mut from = id;
            if kind.is_table() {
                let op = "toStream".to_owned();
                from = self.add(Op { op, from: Some(from), ..Op::default() }, Kind::Stream);
            }
            let (op, topic) = ("to".to_owned(), self.name("out"));
            self.add(Op { op, from: Some(from), topic, ..Op::default() }, Kind::Global);
        }
    }
}
