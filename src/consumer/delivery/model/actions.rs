//! The steps that may come next: of the workers, lost answers, deaths, and time that passes.

use crate::{
    consumer::delivery::{
        company::LAPSES_IN_COMPANY,
        decide::{Ending, Observed, Outcome, Policy, Step, Write, Written},
        model::{
            answers::{answered, without_pauses},
            properties::Violation,
            protocol::Protocol,
            state::{Call, Grant, InProcess, Message, NEW_CLAIMANT, State},
            store::Status,
        },
    },
    dedupe::Claim,
};
use std::time::Duration;

const MOST_DELIVERIES: u8 = 3;

#[derive(Debug, Clone, Copy)]
pub(super) struct Action {
    pub(super) by: &'static str,
    pub(super) what: &'static str,
}

/// The rules of a run of the model.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) policy: Policy,
    pub(super) protocol: Protocol,
    /// The number of faults on the way to a state: crashes, leases that expire, and calls that fail.
    pub(super) most_faults: u8,
}

/// All that may happen next in `state`, each with the state it leads to.
pub(super) fn successors(rules: &Rules, state: &State) -> Vec<(Action, State)> {
    let mut next = Successors { rules, from: *state, by: "", found: Vec::new() };
    next.of_the_broker();
    next.of_the_store();
    for (worker, by) in ["worker 1", "worker 2"].into_iter().enumerate() {
        next.by = by;
        next.of_worker(worker);
    }
    next.found
}

struct Successors<'a> {
    rules: &'a Rules,
    from: State,
    by: &'static str,
    found: Vec<(Action, State)>,
}

impl Successors<'_> {
    #[expect(clippy::large_types_passed_by_value, reason = "made for this call, and stored")]
    fn add(&mut self, what: &'static str, state: State) {
        if state.history.faults() <= self.rules.most_faults {
            self.found.push((Action { by: self.by, what }, state.renumbered()));
        }
    }

    fn of_the_broker(&mut self) {
        self.by = "broker";
        if self.from.message == Message::Unanswered {
            self.add("ack wait ends", State { message: Message::Pending, ..self.from });
        }
    }

    fn of_the_store(&mut self) {
        self.by = "store";
        let mut lapsed = self.from;
        if let Status::Held { is_over, .. } = &mut lapsed.slot.status
            && !*is_over
        {
            *is_over = true;
            let holds =
                |worker: &InProcess| worker.grant.is_some_and(|grant| grant.fence == lapsed.slot.fence);
            let holder = lapsed.workers.iter().flatten().find(|worker| holds(worker));
            lapsed.history.die(holder.is_some_and(|holder| holder.is_alone));
            self.add("lease ends", lapsed);
        }
        let mut late = self.from;
        match late.late.take() {
            Some(Call::Claim { claimant }) => {
                late.slot.claim(claimant);
                self.add("carries out a claim that was given up", late);
            }
            Some(Call::Renew { fence }) => {
                self.renew(&mut late, fence);
                self.add("carries out a renewal that was given up", late);
            }
            Some(Call::Write { what, fence, has_run }) => {
                self.write(&mut late, what, fence, has_run);
                self.add("carries out a write that was given up", late);
            }
            None => {}
        }
    }

    fn of_worker(&mut self, worker: usize) {
        let Some(delivery) = self.from.workers[worker] else { return self.receive(worker) };
        let mut crashed = self.from;
        crashed.workers[worker] = None;
        crashed.postponed[worker] = None;
        crashed.history.die(delivery.is_alone);
        self.add("crashes", crashed);
        match delivery.step {
            Step::Claim { alone, .. } => self.claim(worker, InProcess { is_alone: alone, ..delivery }),
            Step::Run => self.run(worker, delivery),
            Step::DeadLetter(_) => self.dead_letter(worker, delivery.step),
            Step::Write { what, .. } => self.write_and_answer(worker, delivery, what),
            Step::End(ending) => self.end(worker, ending),
        }
    }

    fn receive(&mut self, worker: usize) {
        let mut state = self.from;
        if state.postponed[worker].take().is_some() {
            self.add("starts anew, or has too much to keep", state);
        }
        let mut state = self.from;
        let first_idle = state.workers.iter().position(Option::is_none);
        if state.message != Message::Pending
            || state.deliveries == MOST_DELIVERIES
            || first_idle != Some(worker)
        {
            return;
        }
        state.message = Message::Unanswered;
        state.deliveries += 1;
        state.workers[worker] = Some(InProcess {
            step: Step::Claim { after: Duration::ZERO, alone: false },
            claimant: NEW_CLAIMANT,
            is_alone: false,
            grant: None,
            has_run: false,
            unanswered: None,
            checked: self.rules.protocol.checks(state.slot),
        });
        self.add("receives the message", state);
    }

    fn claim(&mut self, worker: usize, delivery: InProcess) {
        self.seen("is told to shut down", self.from, worker, Observed::Draining);
        self.seen_while_open("is not let in by the breaker", self.from, worker, Observed::NotAdmitted);
        let mut state = self.from;
        state.workers[worker] = Some(delivery);
        let claim = self.rules.protocol.claim(&mut state.slot, &delivery);
        let mut answered = state;
        if let Some(lost) = delivery.unanswered
            && lost.fence == self.from.slot.fence
            && matches!(self.from.slot.status, Status::Held { .. })
        {
            let is_recognised = matches!(claim, Claim::Acquired { attempt, .. } if attempt == lost.attempt);
            answered.history.note(!is_recognised, Violation::RefusedItsOwn);
        }
        self.claimed(answered, worker, claim);
        let mut failed = self.with_a_failed_call();
        let claimant = self.rules.protocol.repeats_claim_as(delivery.claimant);
        if let Claim::Acquired { fence, attempt, lapsed } = claim {
            let mut lost = State { slot: state.slot, ..failed };
            let unanswered = Some(Grant { fence: fence.get(), attempt, lapsed });
            lost.workers[worker] = Some(InProcess { claimant, unanswered, ..delivery });
            self.seen(
                "is granted the claim; the answer is lost",
                lost,
                worker,
                Observed::ClaimFailed { failures: 1 },
            );
        }
        failed.late = Some(Call::Claim { claimant: delivery.claimant });
        failed.workers[worker] = Some(InProcess { claimant, ..delivery });
        self.seen("gives up a claim", failed, worker, Observed::ClaimFailed { failures: 1 });
    }

    fn claimed(&mut self, mut state: State, worker: usize, claim: Claim) {
        let what = match claim {
            Claim::Settled => "is told that the slot is settled",
            Claim::Held { .. } => "is told that the slot is held",
            Claim::Acquired { .. } => "claims the slot",
        };
        if let Some(delivery) = &mut state.workers[worker] {
            delivery.checked = self.rules.protocol.checks(state.slot);
            delivery.unanswered = None;
            delivery.has_run = false;
            if let Claim::Acquired { fence, attempt, lapsed } = claim {
                delivery.grant = Some(Grant { fence: fence.get(), attempt, lapsed });
            }
        }
        self.seen(what, state, worker, Observed::Claimed(claim));
    }

    fn run(&mut self, worker: usize, delivery: InProcess) {
        self.renew_lease(worker, delivery);
        let mut done = self.from;
        done.history.effects += 1;
        self.seen("handles the event", done, worker, Observed::Handled(Outcome::Done));
        let max_attempts = self.rules.policy.max_attempts;
        let blamed = |faults: u32| {
            let mut state = self.from;
            state.history.faults_of_event = (state.history.faults_of_event + faults).min(max_attempts);
            state
        };
        let (failed, rejected) = (blamed(1), blamed(max_attempts));
        let (failure, away) =
            (Observed::Handled(Outcome::Failed(None)), Observed::Handled(Outcome::Away(None)));
        self.seen("fails to handle the event", failed, worker, failure);
        self.seen_while_open("fails while the breaker is open", self.from, worker, failure);
        self.seen_while_open("defers the event", self.from, worker, away);
        self.seen("defers the event without a breaker", self.from, worker, away);
        self.seen_while_open("is not let in by the breaker", self.from, worker, Observed::NotAdmitted);
        self.seen("rejects the event", rejected, worker, Observed::Handled(Outcome::Rejected));
        self.seen("is told to shut down after the claim", self.from, worker, Observed::Draining);
        self.seen("drops the handler", self.from, worker, Observed::Handled(Outcome::Cancelled));
    }

    fn renew_lease(&mut self, worker: usize, delivery: InProcess) {
        let Some(Grant { fence, .. }) = delivery.grant else { return };
        let mut renewed = self.from;
        if self.renew(&mut renewed, fence) {
            self.add("renews its lease", renewed);
        } else {
            self.seen(
                "drops the handler without a lease",
                renewed,
                worker,
                Observed::Handled(Outcome::Cancelled),
            );
        }
        let late = Some(Call::Renew { fence });
        self.add("gives up a renewal", State { late, ..self.with_a_failed_call() });
    }

    fn dead_letter(&mut self, worker: usize, step: Step) {
        let Step::DeadLetter(reason) = step else { return };
        let stored = State { is_dead_lettered: true, ..self.from };
        let seen = |stored| Observed::DeadLettered { reason, stored };
        self.seen("stores the dead letter", stored, worker, seen(true));
        let failed = self.with_a_failed_call();
        let lost = State { is_dead_lettered: true, ..failed };
        self.seen("stores the dead letter; the answer is lost", lost, worker, seen(false));
        self.seen("cannot store the dead letter", failed, worker, seen(false));
    }

    fn write_and_answer(&mut self, worker: usize, delivery: InProcess, what: Write) {
        let Some(Grant { fence, .. }) = delivery.grant else {
            return self.seen(
                "has nothing to write",
                self.from,
                worker,
                Observed::Wrote(what, Written::Fenced),
            );
        };
        let mut state = self.from;
        let is_done = self.write(&mut state, what, fence, delivery.has_run);
        let written = if is_done { Written::Done } else { Written::Fenced };
        let label = match (is_done, what) {
            (false, _) => "is fenced",
            (true, Write::Settle) => "settles",
            (true, Write::Release(_)) => "releases",
            (true, Write::Defer(_)) => "defers",
            (true, Write::Isolate) => "defers, to run alone",
            (true, Write::Forget(_)) => "forgets",
        };
        self.seen(label, state, worker, Observed::Wrote(what, written));
        let failed = self.with_a_failed_call();
        for is_last in [false, true] {
            let seen = Observed::Wrote(what, Written::Failed { is_last });
            let mut lost = failed;
            self.write(&mut lost, what, fence, delivery.has_run);
            self.seen("writes; the answer is lost", lost, worker, seen);
            let late = State { late: Some(Call::Write { what, fence, has_run: delivery.has_run }), ..failed };
            self.seen("gives up a write", late, worker, seen);
        }
    }

    fn end(&mut self, worker: usize, ending: Ending) {
        let mut ended = self.from;
        ended.workers[worker] = None;
        if matches!(ending, Ending::DeadLettered(_) | Ending::Duplicate) {
            ended.postponed[worker] = None;
        }
        let failed = State { history: self.with_a_failed_call().history, ..ended };
        ended.message = answered(ended.message, ending);
        self.add("answers the broker and is done", ended);
        self.add("is done; its answer to the broker is lost", failed);
    }

    fn with_a_failed_call(&self) -> State {
        let mut state = self.from;
        state.history.failed_calls += 1;
        state
    }

    /// Renews the lease, and notes when a stale fence has changed it.
    fn renew(&self, state: &mut State, fence: u64) -> bool {
        let before = state.slot;
        let is_done = self.rules.protocol.renew(&mut state.slot, fence);
        state.history.note(before != state.slot && before.fence != fence, Violation::StaleWrite);
        is_done
    }

    /// Writes to the slot, and notes when a stale fence has changed it.
    fn write(&self, state: &mut State, what: Write, fence: u64, has_run: bool) -> bool {
        let before = state.slot;
        let is_done = self.rules.protocol.write(&mut state.slot, what, fence);
        state.history.note(before != state.slot && before.fence != fence, Violation::StaleWrite);
        match what {
            _ if before == state.slot => {}
            Write::Forget(_) => state.history.runs = 0,
            Write::Defer(_) | Write::Isolate => state.history.runs -= u32::from(has_run),
            Write::Settle | Write::Release(_) => {}
        }
        is_done
    }

    /// Lets the worker decide what to do next, as `process.rs` does.
    #[expect(clippy::large_types_passed_by_value, reason = "made for this call, and stored")]
    fn seen(&mut self, what: &'static str, state: State, worker: usize, seen: Observed) {
        self.seen_by(what, state, worker, seen, false);
    }

    #[expect(clippy::large_types_passed_by_value, reason = "made for this call, and stored")]
    fn seen_while_open(&mut self, what: &'static str, state: State, worker: usize, seen: Observed) {
        self.seen_by(what, state, worker, seen, true);
    }

    fn seen_by(
        &mut self,
        what: &'static str,
        mut state: State,
        worker: usize,
        seen: Observed,
        is_open: bool,
    ) {
        let Some(mut delivery) = state.workers[worker] else { return };
        let rules = self.rules;
        let at = delivery.position(state.postponed[worker], is_open);
        let step = rules.protocol.decide(&rules.policy, at, seen);
        if let (Observed::Wrote(..), Step::Claim { .. }) = (seen, step) {
            delivery.grant = None;
            delivery.claimant = NEW_CLAIMANT;
        }
        if let (Observed::Claimed(Claim::Acquired { lapsed, .. }), Step::Run) = (seen, step) {
            state.history.runs += 1;
            delivery.has_run = true;
            let has_company = lapsed >= LAPSES_IN_COMPANY && !delivery.is_alone;
            state.history.note(has_company, Violation::SuspectInCompany);
            state.history.note(state.postponed[worker].is_some(), Violation::DecidedAgain);
        }
        if let Observed::DeadLettered { reason, stored: false } = seen {
            state.postponed[worker] = Some(reason);
        }
        if let Some(ending) = rules.protocol.says_early(step) {
            state.message = answered(state.message, ending);
        }
        delivery.step = without_pauses(step);
        state.workers[worker] = Some(delivery);
        self.add(what, state);
    }
}
