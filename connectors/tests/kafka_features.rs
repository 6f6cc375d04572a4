//! What librdkafka is built with follows from this crate's features. librdkafka takes the config
//! `builtin.features` as a demand, and refuses what it does not have.

use rdkafka::config::ClientConfig;

fn has(demanded: &str) -> bool {
    ClientConfig::new().set("builtin.features", demanded).create_native_config().is_ok()
}

#[test]
fn gzip_snappy_and_lz4_are_always_there() {
    assert!(has("gzip,snappy,lz4,sasl_plain"));
    assert!(!has("no-such-feature"), "a demand is looked at");
}

#[test]
fn tls_and_the_logins_that_need_it_are_there_with_ssl() {
    for demanded in ["ssl", "sasl_scram", "sasl_oauthbearer"] {
        assert_eq!(has(demanded), cfg!(feature = "ssl"), "{demanded}");
    }
}

#[test]
fn kerberos_is_there_with_sasl() {
    assert_eq!(has("sasl_gssapi"), cfg!(feature = "sasl"));
}

#[test]
fn zstd_is_there_with_zstd() {
    assert_eq!(has("zstd"), cfg!(feature = "zstd"));
}
