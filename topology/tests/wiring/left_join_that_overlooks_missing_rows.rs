//! A left join may find no row.
use headwater_topology::StreamsBuilder;

fn main() {
    let builder = StreamsBuilder::new();
    let users = builder.table::<String, String>("users");
    let clicks = builder.stream::<String, String>("clicks");
    let _ = clicks.left_join_table(&users, |click: String, user: String| click + &user);
}
