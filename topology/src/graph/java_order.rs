//! The orders in which Java's collections give names back. Kafka Streams prints topologies from
//! them, so that a text that is equal to its own needs them, odd as they are.

/// The smallest table of a `HashMap` or `HashSet`.
const CAPACITY_MIN: usize = 16;

/// What has these names, in the order in which a `HashSet` to which they were added one by one gives
/// them back: by bucket, and within one as they came.
pub(crate) fn hash_order<T>(mut items: Vec<(&str, T)>) -> Vec<T> {
    let mut capacity = CAPACITY_MIN;
    // A table doubles when three quarters of it are taken.
    while items.len() > capacity / 4 * 3 {
        capacity *= 2;
    }
    items.sort_by_key(|(name, _)| bucket(name, capacity));
    items.into_iter().map(|(_, item)| item).collect()
}

fn bucket(name: &str, capacity: usize) -> usize {
    let hash = name
        .encode_utf16()
        .fold(0_u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)));
    let spread = hash ^ (hash >> 16);
    // OK because a hash has 32 bits, as an index has at least.
    spread as usize & (capacity - 1)
}

/// A `TreeSet` whose order may change between two insertions: each item goes where the order of
/// that moment leads it, through the tree as it stands, and stays there. Without such changes it is
/// sorted.
#[derive(Debug)]
pub(crate) struct TreeSet<T> {
    nodes: Vec<TreeNode<T>>,
    root: Option<usize>,
}

impl<T> Default for TreeSet<T> {
    fn default() -> Self {
        Self { nodes: Vec::new(), root: None }
    }
}

#[derive(Debug)]
struct TreeNode<T> {
    item: T,
    parent: Option<usize>,
    /// What comes before it, and what comes after.
    children: [Option<usize>; 2],
    red: bool,
}

impl<T: Copy> TreeSet<T> {
    /// Adds an item; `is_before` says whether it belongs before another one.
    pub(crate) fn insert(&mut self, item: T, is_before: impl Fn(T) -> bool) {
        let added = self.nodes.len();
        let mut parent = None;
        let mut next = self.root;
        let mut side = 0;
        while let Some(node) = next.and_then(|index| self.nodes.get(index)) {
            parent = next;
            side = usize::from(!is_before(node.item));
            next = node.children.get(side).copied().flatten();
        }
        self.nodes.push(TreeNode { item, parent, children: [None, None], red: true });
        match parent {
            Some(parent) => self.set_child(parent, side, Some(added)),
            None => self.root = Some(added),
        }
        self.balance(added);
    }

    /// The items from the first to the last.
    pub(crate) fn items(&self) -> Vec<T> {
        let mut items = Vec::with_capacity(self.nodes.len());
        self.walk(self.root, &mut items);
        items
    }

    fn walk(&self, from: Option<usize>, items: &mut Vec<T>) {
        let Some(node) = from.and_then(|index| self.nodes.get(index)) else { return };
        let [before, after] = node.children;
        self.walk(before, items);
        items.push(node.item);
        self.walk(after, items);
    }

    /// Balances a red-black tree after an insertion: where an item goes next depends on it.
    fn balance(&mut self, added: usize) {
        let mut at = added;
        while let Some(parent) = self.parent(at).filter(|parent| self.is_red(Some(*parent))) {
            let Some(grandparent) = self.parent(parent) else { break };
            let side = self.side(parent);
            let uncle = self.child(grandparent, 1 - side);
            if self.is_red(uncle) {
                self.paint(Some(parent), false);
                self.paint(uncle, false);
                self.paint(Some(grandparent), true);
                at = grandparent;
                continue;
            }
            if self.side(at) != side {
                at = parent;
                self.rotate(at, side);
            }
            let parent = self.parent(at);
            let grandparent = parent.and_then(|parent| self.parent(parent));
            self.paint(parent, false);
            self.paint(grandparent, true);
            if let Some(grandparent) = grandparent {
                self.rotate(grandparent, 1 - side);
            }
        }
        self.paint(self.root, false);
    }

    /// Moves a node down to one side; its child of the other side takes its place.
    fn rotate(&mut self, down: usize, side: usize) {
        let Some(up) = self.child(down, 1 - side) else { return };
        let moved = self.child(up, side);
        self.set_child(down, 1 - side, moved);
        match self.parent(down) {
            Some(above) => self.set_child(above, self.side(down), Some(up)),
            None => {
                self.root = Some(up);
                self.set_parent(up, None);
            }
        }
        self.set_child(up, side, Some(down));
    }

    fn parent(&self, index: usize) -> Option<usize> {
        self.nodes.get(index)?.parent
    }

    fn child(&self, index: usize, side: usize) -> Option<usize> {
        self.nodes.get(index)?.children.get(side).copied().flatten()
    }

    /// Which child of its parent a node is.
    fn side(&self, index: usize) -> usize {
        let parent = self.parent(index);
        usize::from(parent.is_some_and(|parent| self.child(parent, 1) == Some(index)))
    }

    fn is_red(&self, index: Option<usize>) -> bool {
        index.and_then(|index| self.nodes.get(index)).is_some_and(|node| node.red)
    }

    fn paint(&mut self, index: Option<usize>, red: bool) {
        if let Some(node) = index.and_then(|index| self.nodes.get_mut(index)) {
            node.red = red;
        }
    }

    fn set_parent(&mut self, index: usize, parent: Option<usize>) {
        if let Some(node) = self.nodes.get_mut(index) {
            node.parent = parent;
        }
    }

    fn set_child(&mut self, index: usize, side: usize, child: Option<usize>) {
        if let Some(slot) = self.nodes.get_mut(index).and_then(|node| node.children.get_mut(side)) {
            *slot = child;
        }
        if let Some(child) = child {
            self.set_parent(child, Some(index));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{TreeSet, hash_order};

    #[test]
    fn names_come_back_by_the_buckets_of_their_hashes() {
        // What Java prints for `new HashSet<>(List.of(…))` of these.
        let names = ["left", "right", "fk-subscription-store", "a", "b"];
        let found = hash_order(names.map(|name| (name, name)).to_vec());
        assert_eq!(found, ["a", "b", "left", "right", "fk-subscription-store"]);
    }

    #[test]
    fn a_table_that_has_grown_has_more_buckets() {
        let numbers: Vec<String> = (10..40).map(|n| format!("KSTREAM-FILTER-{n:010}")).collect();
        let found =
            hash_order(numbers.iter().zip(10..).map(|(name, n)| (name.as_str(), n)).collect());
        // What Java prints.
        let expected = [
            29, 27, 28, 21, 22, 20, 25, 26, 23, 24, 18, 19, 16, 38, 17, 39, 10, 32, 11, 33, 30, 31,
            14, 36, 15, 37, 12, 34, 13, 35,
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn an_unchanging_order_sorts() {
        let seed = fastrand::u64(..);
        let mut rng = fastrand::Rng::with_seed(seed);
        for length in 0..60 {
            let mut expected: Vec<u32> = (0..length).collect();
            let mut set = TreeSet::default();
            let mut added = expected.clone();
            rng.shuffle(&mut added);
            for item in added {
                set.insert(item, |other| item < other);
            }
            expected.sort_unstable();
            assert_eq!(set.items(), expected, "seed {seed}");
        }
    }

    #[test]
    fn an_item_stays_where_the_order_of_its_time_led_it() {
        let mut set = TreeSet::default();
        set.insert("b", |_| false);
        set.insert("a", |_| false);
        set.insert("c", |other| other == "b");
        assert_eq!(set.items(), ["c", "b", "a"]);
    }
}
