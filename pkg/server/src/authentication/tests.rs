use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode};
use tempfile::NamedTempFile;
use tower::ServiceExt;

use super::*;
use crate::tenancy::Tenancy;

/// A hash that takes next to no time.
fn quick_hash(password: &str) -> String {
    use argon2::password_hash::{PasswordHasher as _, SaltString};
    let params = argon2::Params::new(8, 1, 1, None).unwrap();
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let salt = SaltString::from_b64("c2FsdHNhbHQ").unwrap();
    let hash = argon2.hash_password(password.as_bytes(), &salt);
    hash.unwrap().to_string()
}

fn yaml(text: &str) -> AuthenticationConfig {
    let root = settings::read_str("c.yaml", text).unwrap();
    settings::decode(&root).unwrap()
}

fn config() -> AuthenticationConfig {
    let (token, other) = (
        hash_token("token-of-acme"),
        hash_token("token-of-operators"),
    );
    let password = quick_hash("open sesame");
    let config = yaml(&format!(
        "
credentials:
  - name: acme
    bearer_hash: {token}
    tenants: [acme]
    roles: [write, read]
  - name: operators
    bearer_hash: {other}
    tenants: \"*\"
    roles: [read, admin]
  - name: globex
    basic: {{username: globex, password_hash: '{password}'}}
    tenants: [globex, initech]
    roles: [write]
  - name: mesh
    client_certificate: {{san: 'spiffe://mesh/agent'}}
    tenants: [hooli]
    roles: [write]
  - name: machine
    client_certificate: {{subject_common_name: agent}}
    tenants: [acme]
    roles: [write]
"
    ));
    assert_eq!(config.validate("authentication"), []);
    config
}

fn start(config: &AuthenticationConfig) -> Authentication {
    let (tasks, shutdown) = (TaskGroup::new(), Shutdown::new());
    Authentication::start(config, AuthenticationMetrics::default(), &tasks, &shutdown)
        .unwrap()
        .unwrap()
}

/// Says who is let through, as what tenant.
fn router(authentication: &Authentication) -> Router {
    let who = |request: Request| async move {
        let access = request.extensions().get::<Arc<Access>>().cloned();
        let tenant = request.headers().get("x-scope-orgid").cloned();
        let tenant = tenant.map(|tenant| tenant.to_str().unwrap().to_owned());
        format!(
            "{} as {}",
            access
                .map(|access| access.name().to_owned())
                .unwrap_or_default(),
            tenant.unwrap_or_default()
        )
    };
    let tenancy = Tenancy {
        multitenancy_enabled: true,
    };
    let routes = Router::new()
        .route("/push", post(who))
        .route("/scrape", get(who))
        .route("/all", get(who))
        .route("/of/acme", get(who))
        .route("/ready", get(who));
    authentication.guard(routes, tenancy, |_, path| match path {
        "/push" => Needs::Tenant(Role::Write),
        "/of/acme" => Needs::Named(Role::Read, "acme".to_owned()),
        "/all" => Needs::AllTenants(&[Role::Admin]),
        "/ready" => Needs::Nothing,
        _ => Needs::Tenant(Role::Read),
    })
}

const ACME: (&str, &str) = ("authorization", "Bearer token-of-acme");
const OPERATORS: (&str, &str) = ("authorization", "bearer token-of-operators");
/// "globex:open sesame".
const GLOBEX: (&str, &str) = ("authorization", "Basic Z2xvYmV4Om9wZW4gc2VzYW1l");
/// "globex:shut".
const SHUT: (&str, &str) = ("authorization", "Basic Z2xvYmV4OnNodXQ=");

async fn ask(router: &Router, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let method = if path == "/push" { "POST" } else { "GET" };
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = http_body_util::BodyExt::collect(response.into_body()).await;
    let body = body.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn credential_gives_its_tenants_and_its_roles() {
    let router = router(&start(&config()));
    let tenant = |tenant: &'static str| ("x-scope-orgid", tenant);
    for (what, path, headers, want) in [
        ("open page", "/ready", &[][..], (200, " as ")),
        ("no credential", "/push", &[tenant("acme")], (401, "")),
        (
            "own tenant",
            "/push",
            &[ACME, tenant("acme")],
            (200, "acme as acme"),
        ),
        ("only tenant", "/push", &[ACME], (200, "acme as acme")),
        (
            "other tenant",
            "/push",
            &[ACME, tenant("globex")],
            (403, ""),
        ),
        (
            "case of a tenant",
            "/push",
            &[ACME, tenant("Acme")],
            (403, ""),
        ),
        ("no tenant", "/push", &[ACME, tenant("")], (401, "")),
        (
            "two tenants",
            "/push",
            &[ACME, tenant("acme"), tenant("b")],
            (401, ""),
        ),
        (
            "joined tenants",
            "/push",
            &[ACME, tenant("acme|globex")],
            (401, ""),
        ),
        (
            "listed tenants",
            "/push",
            &[ACME, tenant("acme,globex")],
            (401, ""),
        ),
        ("no role", "/push", &[OPERATORS, tenant("acme")], (403, "")),
        (
            "any tenant",
            "/scrape",
            &[OPERATORS, tenant("x")],
            (200, "operators as x"),
        ),
        ("none of many", "/scrape", &[OPERATORS], (401, "")),
        ("query", "/scrape?tenant=acme", &[ACME], (200, "acme as ")),
        ("other query", "/scrape?tenant=globex", &[ACME], (403, "")),
        (
            "hidden query",
            "/scrape?%74enant=globex",
            &[ACME],
            (403, ""),
        ),
        (
            "second query",
            "/scrape?tenant=acme&tenant=globex",
            &[ACME],
            (401, ""),
        ),
        (
            "query and header",
            "/scrape?tenant=globex",
            &[ACME, tenant("acme")],
            (401, ""),
        ),
        ("path", "/of/acme", &[ACME], (200, "acme as ")),
        ("path of another", "/of/acme", &[GLOBEX], (403, "")),
        ("all", "/all", &[OPERATORS], (200, "operators as ")),
        ("all for one", "/all", &[ACME], (403, "")),
        ("unknown page", "/nothing", &[], (401, "")),
        ("unknown page, let in", "/nothing", &[ACME], (404, "")),
        (
            "password",
            "/push",
            &[GLOBEX, tenant("initech")],
            (200, "globex as initech"),
        ),
        (
            "wrong password",
            "/push",
            &[SHUT, tenant("initech")],
            (401, ""),
        ),
        ("both", "/push", &[GLOBEX, ACME], (401, "")),
        (
            "hash",
            "/push",
            &[("authorization", "Bearer sha256:00")],
            (401, ""),
        ),
        (
            "scheme",
            "/push",
            &[("authorization", "Digest x")],
            (401, ""),
        ),
        (
            "nothing",
            "/push",
            &[("authorization", "Bearer ")],
            (401, ""),
        ),
    ] {
        let (status, text) = ask(&router, path, headers).await;
        assert_eq!(status, want.0, "{what}: {text}");
        if status == 200 {
            assert_eq!(text, want.1, "{what}");
        }
    }
}

#[tokio::test]
async fn refusal_is_in_the_form_of_the_request() {
    let router = router(&start(&config()));
    let answer = async |content_type: &str, headers: &[(&str, &str)]| {
        let mut request = Request::post("/push").header("content-type", content_type);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap()
    };
    let other = ("x-scope-orgid", "globex");
    for (content_type, headers, code) in [
        ("application/grpc", &[][..], tonic::Code::Unauthenticated),
        (
            "application/grpc+proto",
            &[ACME, other],
            tonic::Code::PermissionDenied,
        ),
    ] {
        let response = answer(content_type, headers).await;
        assert_eq!(response.status(), StatusCode::OK);
        let status = tonic::Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), code);
    }
    let response = answer("application/x-protobuf", &[ACME, other]).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(response.headers()["content-type"], "application/x-protobuf");
    let response = answer("application/json; charset=utf-8", &[]).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    let schemes = &response.headers()["www-authenticate"];
    assert_eq!(schemes, "Basic realm=\"spanmill\", Bearer");
}

#[tokio::test]
async fn certificate_is_known_by_its_names() {
    let authentication = start(&config());
    let peer = |alternative: &[&str], common: &[&str]| PeerIdentity {
        alternative_names: alternative.iter().map(ToString::to_string).collect(),
        common_names: common.iter().map(ToString::to_string).collect(),
    };
    for (peer, want) in [
        (peer(&["spiffe://mesh/agent"], &[]), Ok("mesh")),
        (
            peer(&["other", "spiffe://mesh/agent"], &["agent"]),
            Ok("mesh"),
        ),
        (peer(&[], &["agent"]), Ok("machine")),
        (
            peer(&["agent"], &["spiffe://mesh/agent"]),
            Err(AccessError::UnknownCredential),
        ),
    ] {
        let access = authentication.access(&HeaderMap::new(), Some(&peer)).await;
        let name = access.map(|access| access.name().to_owned());
        assert_eq!(name, want.map(str::to_owned), "{peer:?}");
    }
    // A header that is wrong is not made up for by a certificate that is right.
    let mut headers = HeaderMap::new();
    headers.insert("authorization", "Bearer wrong".parse().unwrap());
    let agent = peer(&[], &["agent"]);
    let access = authentication.access(&headers, Some(&agent)).await;
    assert_eq!(access.unwrap_err(), AccessError::UnknownCredential);
}

#[tokio::test]
async fn password_is_verified_once_and_remembered_over_a_reload() {
    let config = config();
    let authentication = start(&config);
    let current = || authentication.0.current.load_full();
    let known = |credentials: &Credentials| credentials.by_username("globex").unwrap().clone();
    let gate = &authentication.0.gate;
    assert!(
        gate.admits(&known(&current()), "open sesame".into())
            .await
            .unwrap()
    );

    authentication.put(&config.credentials);
    // With no turn to be had, only what is remembered is let through.
    let turns = gate.shut().await;
    assert!(
        gate.admits(&known(&current()), "open sesame".into())
            .await
            .unwrap()
    );

    let mut changed = config.credentials.clone();
    for credential in &mut changed {
        if let Some(basic) = &mut credential.basic {
            basic.password_hash = settings::Secret::new(quick_hash("new"));
        }
    }
    authentication.put(&changed);
    drop(turns);
    assert!(
        !gate
            .admits(&known(&current()), "open sesame".into())
            .await
            .unwrap()
    );
    assert!(gate.admits(&known(&current()), "new".into()).await.unwrap());
}

#[tokio::test]
async fn more_passwords_than_may_wait_are_sent_away_to_come_again() {
    let authentication = start(&config());
    let (gate, current) = (&authentication.0.gate, authentication.0.current.load_full());
    let known = current.by_username("globex").unwrap();
    let turns = gate.shut().await;
    let waiting: Vec<_> = (0..password::WAITING)
        .map(|_| gate.admits(known, "wrong".into()))
        .collect();
    let mut waiting = Box::pin(futures_util::future::join_all(waiting));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    let one_more = gate.admits(known, "wrong".into()).await;
    assert_eq!(one_more, Err(AccessError::Busy));
    assert_eq!(AccessError::Busy.http_status(), 503);
    drop((waiting, turns));
    // Who has gone holds no place.
    assert_eq!(gate.admits(known, "open sesame".into()).await, Ok(true));
}

#[tokio::test]
async fn broken_file_changes_nothing_and_a_good_one_does() {
    let file = NamedTempFile::new().unwrap();
    let write = |text: &str| std::fs::write(file.path(), text).unwrap();
    let entry = |name: &str, token: &str| {
        let hash = hash_token(token);
        format!("  - {{name: {name}, bearer_hash: '{hash}', tenants: [acme], roles: [read]}}\n")
    };
    write(&format!("credentials:\n{}", entry("one", "first")));
    let config = AuthenticationConfig {
        file: file.path().to_owned(),
        ..config()
    };
    let mut registry = telemetry::new_metrics_registry();
    let metrics = AuthenticationMetrics::register(&mut registry);
    let (tasks, shutdown) = (TaskGroup::new(), Shutdown::new());
    // Its own thread must not come in between.
    shutdown.trigger();
    let authentication = Authentication::start(&config, metrics, &tasks, &shutdown)
        .unwrap()
        .unwrap();
    let mut credentials = CredentialsFile::new(&config);
    let is_known = async |token: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        authentication.access(&headers, None).await.is_ok()
    };
    let shows = |line: &str| {
        let text = telemetry::encode_metrics(&registry);
        assert!(text.contains(&format!("{line}\n")), "no {line} in\n{text}");
    };
    assert!(is_known("first").await && is_known("token-of-acme").await);
    shows("spanmill_authentication_credentials 6");
    shows("spanmill_authentication_requests_total{credential=\"one\"} 1");

    for broken in [
        "credentials: [".to_owned(),
        "credentials: []\nfile: x".to_owned(),
        format!("credentials:\n{}", entry("acme", "second")),
        format!("credentials:\n{}", entry("two", "token-of-acme")),
    ] {
        write(&broken);
        authentication.look(&mut credentials);
        assert!(is_known("first").await, "{broken}");
        shows("spanmill_authentication_reload_failed 1");
    }
    write(&format!("credentials:\n{}", entry("two", "second")));
    authentication.look(&mut credentials);
    assert!(is_known("second").await && !is_known("first").await);
    assert!(is_known("token-of-acme").await);
    shows("spanmill_authentication_reload_failed 0");
    let text = telemetry::encode_metrics(&registry);
    assert!(!text.contains("credential=\"one\""), "{text}");
}

#[test]
fn every_mistake_of_a_credential_is_named() {
    let hash = hash_token("x");
    for (text, want) in [
        ("{}", "authentication.credentials[0].name: may not be empty"),
        (
            "{name: a}",
            "authentication.credentials[0]: needs just one of",
        ),
        (
            "{name: a, bearer_hash: 'sha256:12', tenants: [a], roles: [read]}",
            "authentication.credentials[0].bearer_hash: is not sha256:",
        ),
        (
            "{name: a, basic: {username: 'a:b'}, tenants: [a], roles: [read]}",
            "authentication.credentials[0].basic.username: may not be",
        ),
        (
            "{name: a, basic: {username: a, password_hash: x}, tenants: [a], roles: [read]}",
            "authentication.credentials[0].basic.password_hash: is not a PHC",
        ),
        (
            "{name: a, client_certificate: {}, tenants: [a], roles: [read]}",
            "authentication.credentials[0].client_certificate: needs one of",
        ),
        (
            "{name: a, bearer_hash: HASH, roles: [read]}",
            "authentication.credentials[0].tenants: ",
        ),
        (
            "{name: a, bearer_hash: HASH, tenants: ['../a'], roles: [read]}",
            "authentication.credentials[0].tenants: tenant id has",
        ),
        (
            "{name: a, bearer_hash: HASH, tenants: [a]}",
            "authentication.credentials[0].roles: ",
        ),
    ] {
        let text = format!("credentials: [{}]", text.replace("HASH", &hash));
        let problems = yaml(&text).validate("authentication");
        let told = problems.first().unwrap();
        let told = format!("{}: {}", told.path, told.message);
        assert!(told.contains(want), "{text}: {told}");
    }
}

#[test]
fn hash_of_a_token_is_its_sha_256() {
    // FIPS 180-2, B.1.
    assert_eq!(
        hash_token("abc"),
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

#[test]
fn hashes_of_a_password_differ_and_can_be_used() {
    let hashes = [hash_password("x").unwrap(), hash_password("x").unwrap()];
    assert_ne!(hashes[0], hashes[1]);
    for hash in hashes {
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert!(password::is_hash(&settings::Secret::new(hash)));
    }
}
