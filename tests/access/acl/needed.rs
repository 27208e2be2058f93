//! Every role can do its whole work, and needs every subject that it is allowed.

use super::{
    guarded::NEW_ACKS,
    roles::{Role, all, stage},
};
use std::time::Duration;
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_role_does_its_whole_work_and_nothing_is_refused() {
    for more in ["", NEW_ACKS] {
        for role in all() {
            let (guarded, user) = stage(&role, role.permissions.to_string(), more).await;
            timeout(Duration::from_mins(1), (role.work)(user.bridge.clone(), guarded.admin.clone()))
                .await
                .unwrap_or_else(|_| panic!("{}: {:?}", role.name, user.refusals.all()));
            assert!(user.refusals.all().is_empty(), "{}: {:?}", role.name, user.refusals.all());
        }
    }
}

async fn is_missed(role: &Role, subject: &str) {
    let quoted = format!("\"{subject}\"");
    let permissions = role.permissions.to_string();
    assert!(permissions.contains(&quoted));
    let more = if subject.starts_with("$JS.ACK.*.*.") { NEW_ACKS } else { "" };
    let (guarded, user) = stage(role, permissions.replace(&quoted, "\"nothing\""), more).await;
    let work = tokio::spawn((role.work)(user.bridge.clone(), guarded.admin.clone()));
    let refused = timeout(Duration::from_mins(1), user.refusals.until("")).await;
    assert!(refused.is_ok(), "{} does its work without {subject}", role.name);
    work.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_subject_is_allowed_that_is_not_needed() {
    for role in all() {
        for subject in role.permissions.publish().chain(role.permissions.subscribe()) {
            is_missed(&role, subject).await;
        }
    }
}
