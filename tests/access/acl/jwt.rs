//! An operator, who signs accounts and users: what `nsc` does, as far as a server in operator mode needs it.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use nkeys::{KeyPair, KeyPairType};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};
use stratt_event_bridge::async_nats::{AuthError, ConnectOptions};

const ADMIN: &str = "admin";

/// The account of all users. Its key and that of the administrator are the same on all servers.
fn account() -> KeyPair {
    KeyPair::new_from_raw(KeyPairType::Account, [1; 32]).unwrap()
}

/// Returns the JWT of the administrator, who needs no signature.
pub fn bearer() -> String {
    User::admin().jwt
}

/// An operator with one account and its users.
pub struct Operator {
    config: String,
    users: BTreeMap<String, User>,
}

struct User {
    key: Arc<KeyPair>,
    jwt: String,
}

impl Operator {
    /// Signs an administrator, who may do everything, and users by their names and the claims of their permissions.
    pub fn with(users: &[(&str, String)]) -> Self {
        let (operator, system, account) = (KeyPair::new_operator(), KeyPair::new_account(), account());
        let itself = json!({ "type": "operator", "version": 2, "system_account": system.public_key() });
        let accounts = [(&system, json!({})), (&account, json!({ "mem_storage": -1, "disk_storage": -1 }))];
        let accounts = accounts.map(|(key, storage)| {
            let jwt = signed(&operator, key, "account", &account_claims(storage));
            format!("{}: {jwt}\n", key.public_key())
        });
        let config = format!(
            "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload {{\n{}}}",
            signed(&operator, &operator, "operator", &itself),
            system.public_key(),
            accounts.concat()
        );
        let users = users.iter().map(|(name, claims)| {
            let permissions = serde_json::from_str(claims).unwrap();
            ((*name).to_owned(), User::new(KeyPair::new_user(), name, &permissions, false))
        });
        Self { config, users: users.chain([(ADMIN.to_owned(), User::admin())]).collect() }
    }

    /// Returns the lines for the configuration of the server.
    pub fn config(&self) -> &str {
        &self.config
    }

    /// Returns what a user connects by.
    pub fn credentials(&self, user: &str) -> ConnectOptions {
        let User { key, jwt } = &self.users[user];
        let key = key.clone();
        ConnectOptions::with_jwt(jwt.clone(), move |nonce| {
            let key = key.clone();
            async move { key.sign(&nonce).map_err(AuthError::new) }
        })
    }
}

impl User {
    fn admin() -> Self {
        let key = KeyPair::new_from_raw(KeyPairType::User, [2; 32]).unwrap();
        Self::new(key, ADMIN, &json!({ "pub": {}, "sub": {} }), true)
    }

    fn new(key: KeyPair, name: &str, permissions: &Value, is_bearer: bool) -> Self {
        let claims = json!({
            "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1,
            "pub": permissions["pub"], "sub": permissions["sub"], "bearer_token": is_bearer,
        });
        let jwt = signed(&account(), &key, name, &claims);
        Self { key: key.into(), jwt }
    }
}

/// The claims of an account without limits.
fn account_claims(storage: Value) -> Value {
    let mut limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
        "leaf": -1, "streams": -1, "consumer": -1,
    });
    let storage: BTreeMap<String, Value> = serde_json::from_value(storage).unwrap();
    limits.as_object_mut().unwrap().extend(storage);
    json!({ "type": "account", "version": 2, "limits": limits })
}

/// Returns a JWT in the form of NATS: signed with an ed25519 nkey, identified by its hash.
fn signed(issuer: &KeyPair, subject: &KeyPair, name: &str, nats: &Value) -> String {
    let mut claims = json!({
        "iat": 1_750_000_000, "iss": issuer.public_key(), "sub": subject.public_key(), "name": name, "nats": nats,
    });
    claims["jti"] = hex::encode(blake3::hash(claims.to_string().as_bytes()).as_bytes()).into();
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&json!({ "typ": "JWT", "alg": "ed25519-nkey" })), part(&claims));
    let signature = issuer.sign(text.as_bytes()).unwrap();
    format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}
