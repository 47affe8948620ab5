//! What the types of an entry cannot say.

use std::net::IpAddr;

use url::{Host, Url};

use super::headers;
use super::{Author, EndpointConfig};

/// Selects the tenant at the receiver, as in Cortex, Mimir and Tempo.
const ORG_ID: &str = "x-scope-orgid";

/// What is wrong with a list of entries: pairs of a key, as it is written
/// below the list, and what is wrong there. Reads no file.
pub fn validate_list(endpoints: &[EndpointConfig]) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    for (index, endpoint) in endpoints.iter().enumerate() {
        let own = endpoint.validate().into_iter();
        problems.extend(own.map(|(key, problem)| (format!("[{index}].{key}"), problem)));
        let same = |other: &EndpointConfig| other.name == endpoint.name;
        if !endpoint.name.is_empty() && endpoints.iter().take(index).any(same) {
            problems.push((
                format!("[{index}].name"),
                format!("{:?} is the name of an entry before it", endpoint.name),
            ));
        }
    }
    problems
}

impl EndpointConfig {
    /// Checks what the types cannot: pairs of a key, as it is written below
    /// the entry, and what is wrong there. Reads no file, and asks nobody what
    /// a name stands for.
    ///
    /// What may be named depends on the author.
    pub fn validate(&self) -> Vec<(String, String)> {
        let mut found = Found(Vec::new());
        found.addresses(self);
        if self.remote_timeout.is_zero() {
            found.add("remote_timeout", "must be longer than 0s");
        }
        found.headers(self);
        found.authentication(self);
        found.proxy(self);
        for (key, problem) in self.queue_config.validate() {
            found.add(&format!("queue_config.{key}"), problem);
        }
        if let Some((key, problem)) = self.tls_config.problem() {
            found.add(&format!("tls_config.{key}"), problem);
        }
        for (index, rule) in self.write_relabel_configs.iter().enumerate() {
            if let Err(problem) = rule.compile() {
                found.add(&format!("write_relabel_configs[{index}]"), problem);
            }
        }
        if matches!(self.author, Author::Tenant(_)) {
            found.of_this_host(self);
        }
        found.0
    }

    /// The URL, if it can be used.
    ///
    /// # Errors
    ///
    /// Why it cannot; the text does not show it.
    pub fn parsed_url(&self) -> Result<Url, String> {
        if self.url.is_empty() {
            return Err("is required".to_owned());
        }
        self.usable_url(self.url.expose())
    }

    /// The URL of the proxy that is set here, if it can be used.
    ///
    /// # Errors
    ///
    /// Why it cannot; the text does not show it.
    pub fn parsed_proxy_url(&self) -> Result<Option<Url>, String> {
        if self.proxy_url.is_empty() {
            return Ok(None);
        }
        self.usable_url(self.proxy_url.expose()).map(Some)
    }

    /// Reads a URL, and checks that the author may name its host. What a name
    /// stands for is checked when it is known.
    ///
    /// # Errors
    ///
    /// Why it cannot be used; the text does not show it.
    pub fn usable_url(&self, text: &str) -> Result<Url, String> {
        let url: Url = text
            .parse()
            .map_err(|error| format!("is not a URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!(
                "has the scheme {:?}; http and https are accepted",
                url.scheme()
            ));
        }
        let address = match url.host() {
            None | Some(Host::Domain("")) => return Err("has no host".to_owned()),
            Some(Host::Domain(_)) => None,
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        };
        if let (Some(address), Some(allowed)) = (address, self.author.allowed_addresses())
            && !allowed.allows(address)
        {
            return Err(format!(
                "has the address {address}, which overrides may not reach; \
                 overrides.remote_write_allowed_addresses can allow it"
            ));
        }
        Ok(url)
    }
}

struct Found(Vec<(String, String)>);

impl Found {
    fn add(&mut self, key: &str, problem: impl Into<String>) {
        self.0.push((key.to_owned(), problem.into()));
    }

    fn addresses(&mut self, config: &EndpointConfig) {
        if let Err(problem) = config.parsed_url() {
            self.add("url", problem);
        }
        if let Err(problem) = config.parsed_proxy_url() {
            self.add("proxy_url", problem);
        }
    }

    fn headers(&mut self, config: &EndpointConfig) {
        for (name, value) in &config.headers {
            self.header(&format!("headers.{name}"), config, name, [value.expose()]);
        }
        for (name, header) in &config.http_headers {
            let key = format!("http_headers.{name}");
            let values = header.values.iter().map(String::as_str);
            let secrets = header.secrets.iter().map(settings::Secret::expose);
            // What files hold is checked when they are read, the name always.
            self.header(&key, config, name, values.chain(secrets).chain([""]));
            if config
                .headers
                .keys()
                .any(|other| other.eq_ignore_ascii_case(name))
            {
                self.add(&key, "is in headers as well; keep one");
            }
        }
    }

    /// The first problem of a header and its values.
    fn header<'a>(
        &mut self,
        key: &str,
        config: &EndpointConfig,
        name: &str,
        values: impl IntoIterator<Item = &'a str>,
    ) {
        let problem = values
            .into_iter()
            .find_map(|value| headers::parse(name, value).err());
        if let Some(problem) = problem {
            self.add(key, problem);
        } else if name.eq_ignore_ascii_case("authorization") {
            self.add(key, "is set by basic_auth, authorization or bearer_token");
        } else if name.eq_ignore_ascii_case(ORG_ID) && matches!(config.author, Author::Tenant(_)) {
            self.add(key, "selects a tenant, which a tenant may not");
        }
    }

    fn authentication(&mut self, config: &EndpointConfig) {
        let ways = [
            config.basic_auth.is_some(),
            config.authorization.is_some(),
            !config.bearer_token.is_empty() || !config.bearer_token_file.is_empty(),
        ];
        if ways.iter().filter(|way| **way).count() > 1 {
            self.add(
                "authorization",
                "only one of basic_auth, authorization and bearer_token can be set",
            );
        }
        for (key, given) in [
            ("sigv4", config.sigv4),
            ("oauth2", config.oauth2),
            ("azuread", config.azuread),
            ("google_iam", config.google_iam),
        ] {
            if given.0 {
                self.add(
                    key,
                    "is not supported; use basic_auth, authorization, or a proxy that signs",
                );
            }
        }
    }

    /// Source: Prometheus documentation, `http_config`.
    fn proxy(&mut self, config: &EndpointConfig) {
        let by_url = !config.proxy_url.is_empty();
        if config.proxy_from_environment && by_url {
            self.add(
                "proxy_url",
                "proxy_from_environment is set as well; keep one",
            );
        }
        if !config.no_proxy.is_empty() && !by_url {
            self.add("no_proxy", "needs proxy_url");
        }
        if !config.proxy_connect_header.is_empty() && !by_url && !config.proxy_from_environment {
            self.add(
                "proxy_connect_header",
                "needs proxy_url or proxy_from_environment",
            );
        }
        for (name, values) in &config.proxy_connect_header {
            let problem = values
                .iter()
                .find_map(|value| headers::parse_any(name, value.expose()).err());
            if let Some(problem) = problem {
                self.add(&format!("proxy_connect_header.{name}"), problem);
            }
        }
    }

    /// What belongs to the host and the process: nothing for tenants.
    fn of_this_host(&mut self, config: &EndpointConfig) {
        let tls = &config.tls_config;
        let basic = config.basic_auth.clone().unwrap_or_default();
        let authorization = config.authorization.clone().unwrap_or_default();
        for (key, file) in [
            ("bearer_token_file", &config.bearer_token_file),
            ("basic_auth.username_file", &basic.username_file),
            ("basic_auth.password_file", &basic.password_file),
            (
                "authorization.credentials_file",
                &authorization.credentials_file,
            ),
            ("tls_config.ca_file", &tls.ca_file),
            ("tls_config.cert_file", &tls.cert_file),
            ("tls_config.key_file", &tls.key_file),
        ] {
            if !file.is_empty() {
                self.add(key, "files can be named in files only");
            }
        }
        for (name, header) in &config.http_headers {
            if !header.files.is_empty() {
                let key = format!("http_headers.{name}.files");
                self.add(&key, "files can be named in files only");
            }
        }
        if config.proxy_from_environment {
            self.add(
                "proxy_from_environment",
                "the environment is not a tenant's",
            );
        }
    }
}
