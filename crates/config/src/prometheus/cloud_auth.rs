//! How the clouds want to know who sends: `sigv4`, `azuread`, `google_iam`.

use std::collections::BTreeMap;

use relatum_model::text::quote;

use super::field::{Field, keys, read_keys, section};
use crate::Secret;
use crate::yaml::Cursor;

section! {
    /// How requests are signed for AWS; what is missing comes from the environment.
    pub struct SigV4Config {
        /// The region.
        region: String = String::new(),
        /// The access key.
        access_key: String = String::new(),
        /// Its secret.
        secret_key: Option<Secret> = None,
        /// A named profile.
        profile: String = String::new(),
        /// A role to take on.
        role_arn: String = String::new(),
        /// The identifier that the role asks for.
        external_id: String = String::new(),
        /// What the session is called.
        session_name: String = String::new(),
        /// Tags of the session.
        tags: BTreeMap<String, String> = BTreeMap::new(),
        /// Whether the token service's FIPS endpoint is used.
        use_fips_sts_endpoint: bool = false,
        /// The service that is signed for.
        service_name: String = String::new(),
    }
}

keys!(SigV4Config, |config, cursor| {
    if config.access_key.is_empty() != config.secret_key.is_none() {
        cursor.invalid(
            "must provide a AWS SigV4 Access key and Secret Key if credentials are specified in the SigV4 config",
        );
    }
    if config.role_arn.is_empty() {
        for (key, is_set) in [
            ("external_id", !config.external_id.is_empty()),
            ("session_name", !config.session_name.is_empty()),
            ("tags", !config.tags.is_empty()),
        ] {
            if is_set {
                cursor.invalid(format!("{key} can only be used with role_arn"));
            }
        }
    }
    let session = &config.session_name;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    let fits = (2..=64).contains(&session.len()) && session.chars().all(allowed);
    if !session.is_empty() && !fits {
        cursor.invalid(r"session_name must match ^[\w+=,.@-]{2,64}$ (2-64 alphanumeric and +=,.@- characters)");
    }
    for (key, value) in &config.tags {
        if key.is_empty() {
            cursor.invalid("tag key must not be empty");
        }
        if key.len() > 128 {
            cursor.invalid(format!("tag key {} exceeds maximum length of 128", quote(key)));
        }
        if value.len() > 256 {
            cursor.invalid(format!("tag value for key {} exceeds maximum length of 256", quote(key)));
        }
    }
});

section! {
    /// How a token is got from Microsoft: exactly one of the ways is set.
    pub struct AzureAdConfig {
        /// An identity that the machine has.
        managed_identity: Option<AzureManagedIdentity> = None,
        /// An identity that Kubernetes gives to a pod.
        workload_identity: Option<AzureWorkloadIdentity> = None,
        /// A secret.
        oauth: Option<AzureOAuth> = None,
        /// What Microsoft's library finds around it.
        sdk: Option<AzureSdk> = None,
        /// A certificate.
        certificate: Option<AzureCertificate> = None,
        /// Which of Microsoft's clouds; empty is the public one.
        cloud: String = String::new(),
        /// What the token is for; empty is the ingestion of metrics.
        scope: String = String::new(),
    }
}

section! {
    /// An identity that the machine has.
    pub struct AzureManagedIdentity {
        /// Which of several.
        client_id: String = String::new(),
    }
}

section! {
    /// An identity that Kubernetes gives to a pod.
    pub struct AzureWorkloadIdentity {
        /// The client; not empty.
        client_id: String = String::new(),
        /// The tenant; not empty.
        tenant_id: String = String::new(),
        /// A file with the pod's token; empty is the usual place.
        token_file_path: String = String::new(),
    }
}

section! {
    /// A client with a secret.
    pub struct AzureOAuth {
        /// The client; not empty.
        client_id: String = String::new(),
        /// Its secret; needed.
        client_secret: Option<Secret> = None,
        /// The tenant; not empty.
        tenant_id: String = String::new(),
    }
}

section! {
    /// What Microsoft's library finds around it.
    pub struct AzureSdk {
        /// The tenant.
        tenant_id: String = String::new(),
    }
}

section! {
    /// A client with a certificate.
    pub struct AzureCertificate {
        /// The client; not empty.
        client_id: String = String::new(),
        /// The tenant; not empty.
        tenant_id: String = String::new(),
        /// A file with the certificate; not empty.
        certificate_path: String = String::new(),
        /// A file with its key, if it is not in the same file.
        certificate_key_path: String = String::new(),
        /// What the key is locked with.
        certificate_password: Option<Secret> = None,
        /// Whether the authorities are sent too.
        send_certificate_chain: bool = false,
    }
}

keys!(AzureManagedIdentity);
keys!(AzureWorkloadIdentity);
keys!(AzureOAuth);
keys!(AzureSdk);
keys!(AzureCertificate);

macro_rules! optional {
    ($($section:ident)*) => {
        $(impl Field for Option<$section> {
            fn read(cursor: Cursor<'_>) -> Self {
                read_keys(cursor)
            }
        })*
    };
}

optional!(AzureManagedIdentity AzureWorkloadIdentity AzureOAuth AzureSdk AzureCertificate);

keys!(AzureAdConfig, |config, cursor| {
    if !["", "AzureChina", "AzureGovernment", "AzurePublic"].contains(&config.cloud.as_str()) {
        cursor.invalid("must provide a cloud in the Azure AD config");
    }
    let ways = [
        config.managed_identity.is_some(),
        config.workload_identity.is_some(),
        config.oauth.is_some(),
        config.sdk.is_some(),
        config.certificate.is_some(),
    ];
    match ways.iter().filter(|is_set| **is_set).count() {
        0 => cursor.invalid(
            "must provide an Azure Managed Identity, Azure Workload Identity, Azure OAuth, Azure Certificate or \
             Azure SDK in the Azure AD config",
        ),
        1 => {}
        _ => cursor.invalid("cannot provide multiple authentication methods in the Azure AD config"),
    }
    let needed = |what: &str, key: &str, is_missing: bool| {
        if is_missing {
            cursor.invalid(format!("must provide an Azure {what} {key} in the Azure AD config"));
        }
    };
    let id = |what: &str, key: &str, text: &str| {
        if !text.is_empty() && !is_uuid(text) {
            cursor.invalid(format!("the provided Azure {what} {key} is invalid"));
        }
    };
    if let Some(identity) = &config.managed_identity {
        id("Managed Identity", "client_id", &identity.client_id);
    }
    if let Some(identity) = &config.workload_identity {
        for (key, text) in [("client_id", &identity.client_id), ("tenant_id", &identity.tenant_id)] {
            needed("Workload Identity", key, text.is_empty());
            id("Workload Identity", key, text);
        }
    }
    if let Some(oauth) = &config.oauth {
        needed("OAuth", "client_id", oauth.client_id.is_empty());
        needed("OAuth", "client_secret", oauth.client_secret.is_none());
        needed("OAuth", "tenant_id", oauth.tenant_id.is_empty());
        id("OAuth", "client_id", &oauth.client_id);
    }
    if let Some(certificate) = &config.certificate {
        needed("Certificate", "client_id", certificate.client_id.is_empty());
        needed("Certificate", "tenant_id", certificate.tenant_id.is_empty());
        needed("Certificate", "certificate_path", certificate.certificate_path.is_empty());
        id("Certificate", "client_id", &certificate.client_id);
    }
    let in_scope = |c: char| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || "_:/.-".contains(c);
    if !config.scope.chars().all(in_scope) {
        cursor.invalid("the provided scope contains invalid characters");
    }
});

/// The spellings that Go's library takes: plain, in braces, as a URN, without dashes.
fn is_uuid(text: &str) -> bool {
    let text = match text.len() {
        45 => text.get(..9).filter(|start| start.eq_ignore_ascii_case("urn:uuid:")).map_or("", |_| &text[9..]),
        38 => text.get(1..37).unwrap_or(""),
        _ => text,
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text.len() {
        32 => digits(text),
        36 => text.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && text.split('-').all(digits),
        _ => false,
    }
}

section! {
    /// How a token is got from Google.
    pub struct GoogleIamConfig {
        /// A file with the credentials; empty is what the environment has. As it is written.
        credentials_file: String = String::new(),
    }
}

keys!(GoogleIamConfig);
