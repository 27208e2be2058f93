//! Every role can do its whole work, and needs every subject that it is allowed.

use super::{
    guarded::NEW_ACKS,
    place::Place,
    roles::{Role, all, stage},
};
use std::time::Duration;
use tokio::time::timeout;

async fn does_its_work(role: &Role, place: Place, more: &str) {
    let (guarded, user) = stage(role, place, place.rendered(role), more).await;
    timeout(Duration::from_mins(1), (role.work)(user.bridge.clone(), guarded.admin.clone()))
        .await
        .unwrap_or_else(|_| panic!("{}: {:?}", role.name, user.refusals.all()));
    assert!(user.refusals.all().is_empty(), "{}: {:?}", role.name, user.refusals.all());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_role_does_its_whole_work_and_nothing_is_refused() {
    for more in ["", NEW_ACKS] {
        for role in all() {
            does_its_work(&role, Place::Here, more).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_role_does_its_whole_work_in_the_domain_of_a_hub() {
    for more in ["", NEW_ACKS] {
        for role in all() {
            does_its_work(&role, Place::Hub, more).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_role_does_its_whole_work_in_an_imported_jetstream() {
    for more in ["", NEW_ACKS] {
        for role in all() {
            does_its_work(&role, Place::Import, more).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_domain_of_the_server_itself_needs_no_other_subjects() {
    for role in all() {
        does_its_work(&role, Place::HereByDomain, "").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_role_does_its_whole_work_in_operator_mode() {
    for role in all() {
        does_its_work(&role, Place::Operator, "").await;
    }
}

async fn is_missed(role: &Role, place: Place, subject: &str) {
    let quoted = format!("\"{subject}\"");
    let permissions = place.rendered(role);
    assert!(permissions.contains(&quoted));
    let more = if subject.starts_with("$JS.ACK.*.*.") { NEW_ACKS } else { "" };
    let (guarded, user) = stage(role, place, permissions.replace(&quoted, "\"nothing\""), more).await;
    let work = tokio::spawn((role.work)(user.bridge.clone(), guarded.admin.clone()));
    let refused = timeout(Duration::from_mins(1), user.refusals.until("")).await;
    assert!(refused.is_ok(), "{} does its work without {subject}", role.name);
    work.abort();
}

async fn each_subject_is_missed(place: Place) {
    for role in all() {
        let permissions = place.permissions(&role);
        for subject in permissions.publish().chain(permissions.subscribe()) {
            is_missed(&role, place, subject).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_subject_is_allowed_that_is_not_needed() {
    each_subject_is_missed(Place::Here).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_is_allowed_in_the_domain_of_a_hub_either() {
    each_subject_is_missed(Place::Hub).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_is_allowed_in_an_imported_jetstream_either() {
    each_subject_is_missed(Place::Import).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_is_allowed_in_operator_mode_either() {
    each_subject_is_missed(Place::Operator).await;
}
