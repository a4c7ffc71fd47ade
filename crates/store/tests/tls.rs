//! A database that is reached over a network is asked who it is: TLS, an authority that is named, the server's name.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::path::Path;

use sqlx::{Connection as _, PgConnection};
use store::{Settings, Store};
use testkit::payments::Authority;
use testkit::{instruments, vault};

use crate::servers::{Alone, platform};

/// Whoever comes over the network without TLS is refused.
const TLS_ONLY: &str = "hostnossl all all all reject\nhost all all all trust\n";

impl Alone {
    /// Shows a certificate for `localhost` that this authority has signed.
    fn show(&self, authority: &Authority) {
        let (certificate, key) = authority.certificate_and_key("localhost");
        let certificate = self.keep("server.pem", &certificate);
        let key = self.keep("server.key", &key);
        let (certificate, key) = (certificate.display(), key.display());
        let settings = format!("ssl = on\nssl_cert_file = '{certificate}'\nssl_key_file = '{key}'\n");
        self.server.follow(&settings, TLS_ONLY);
    }

    fn asked(&self, host: &str, authority: &Path) -> String {
        let (port, authority) = (self.server.port, authority.display());
        format!("postgres://postgres@{host}:{port}/postgres?sslmode=verify-full&sslrootcert={authority}")
    }
}

/// What stands in the way, with every cause.
async fn refusal(url: &str) -> String {
    app::with_causes(&Store::migrate(url).await.unwrap_err())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_believed_only_if_a_known_authority_signed_its_name() {
    let (ours, other) = (Authority::new(), Authority::new());
    let alone = Alone::start("tls");
    alone.show(&ours);
    let trusted = alone.keep("trusted.pem", ours.root_pem());
    let unrelated = alone.keep("unrelated.pem", other.root_pem());

    let good = alone.asked("localhost", &trusted);
    Store::migrate(&good).await.unwrap();
    let said = refusal(&alone.asked("localhost", &unrelated)).await;
    assert!(said.contains("invalid peer certificate"), "{said}");
    let said = refusal(&alone.asked("127.0.0.1", &trusted)).await;
    assert!(said.contains("not valid for name"), "{said}");
    let said =
        refusal(&format!("postgres://postgres@localhost:{}/postgres?sslmode=disable", alone.server.port))
            .await;
    assert!(said.contains("pg_hba.conf rejects connection"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_of_the_platform_is_encrypted_and_outlives_the_authority_that_it_was_opened_under() {
    let (first, second) = (Authority::new(), Authority::new());
    let alone = Alone::start("tls-renewed");
    alone.show(&first);
    let trusted = alone.keep("trusted.pem", first.root_pem());
    let owner = alone.asked("localhost", &trusted);
    let (firm, login) = platform(&owner).await;
    let connected = || Settings::of_a_command(login.clone(), instruments(), vault());
    let before = Store::connect(&connected()).await.unwrap();
    assert_eq!(before.firm(firm).await.unwrap().unwrap().name, "One");
    let mut watching = PgConnection::connect(&owner).await.unwrap();
    let plain: i64 = sqlx::query_scalar(
        "select count(*) from pg_stat_activity join pg_stat_ssl using (pid) where application_name = 'tradesense' and not ssl",
    )
    .fetch_one(&mut watching)
    .await
    .unwrap();
    assert_eq!(plain, 0);

    alone.show(&second);
    assert!(refusal(&owner).await.contains("invalid peer certificate"));
    assert_eq!(before.firm(firm).await.unwrap().unwrap().name, "One");
    // The file is read for every connection: what is put there is known without a restart.
    alone.keep("trusted.pem", second.root_pem());
    let after = Store::connect(&connected()).await.unwrap();
    assert_eq!(after.firm(firm).await.unwrap().unwrap().name, "One");
}
