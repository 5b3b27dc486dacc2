//! Nodes: which records are taken, what of a node is missing, who is silent, who is gone.

use std::collections::HashMap;

use super::super::wire::Body;
use super::{Effect, Node, View};
use crate::gateway::cluster::totals::Happening;

/// A tick that comes this much late means that the whole process slept, ms.
pub(in crate::gateway::cluster) const SLEPT: u64 = 3_000;
/// So many nodes that are gone are remembered, so that their old records do not bring them back.
const GRAVES: usize = 1_000;

impl View {
    /// False for a record that was seen before. A gap in the numbers means that something of the node is missing.
    pub(super) fn accept(&mut self, id: &str, sequence: u64, body: &Body, now: u64) -> bool {
        let begins = matches!(body, Body::Hello) && sequence == 1;
        match self.nodes.get_mut(id) {
            Some(node) if sequence <= node.sequence => return false,
            Some(node) => {
                if sequence > node.sequence + 1 {
                    node.synced = false;
                    node.assembly = None;
                }
                node.sequence = sequence;
                node.heard = now;
            }
            None => {
                if self.grave(id) >= sequence {
                    return false;
                }
                let node = Node {
                    sequence,
                    heard: now,
                    synced: begins,
                    ..Node::default()
                };
                self.nodes.insert(id.to_owned(), node);
            }
        }
        // A snapshot under way is no reason to ask for one.
        if !matches!(body, Body::Snapshot { .. } | Body::Hello | Body::Bye) {
            self.ask_again(id, now);
        }
        true
    }

    /// Asks for what is missing of a node, unless that was done just now, or our own hello does it.
    pub(super) fn ask_again(&mut self, id: &str, now: u64) {
        let Some(greeted) = self.greeted else {
            return;
        };
        let again = self.timing.again;
        let Some(node) = self.nodes.get_mut(id) else {
            return;
        };
        let asked = node.asked.unwrap_or(greeted);
        let is_new = node.asked.is_none() && now.saturating_sub(greeted) >= again;
        if node.synced || !(is_new || now.saturating_sub(asked) >= again) {
            return;
        }
        node.asked = Some(now);
        self.effects.push(if id == self.own {
            Effect::Tell
        } else {
            Effect::AskGap { of: id.to_owned() }
        });
    }

    pub(super) fn listen(&mut self, id: &str, now: u64) {
        self.heard_any = now;
        if id == self.own {
            self.heard_own = Some(now);
        }
        if std::mem::take(&mut self.isolated) {
            // The others were not silent, we were deaf.
            self.forgive(now);
            self.effects.push(Effect::Back);
        }
    }

    pub(super) fn forgive(&mut self, now: u64) {
        self.heard_any = now;
        for node in self.nodes.values_mut() {
            node.heard = now;
        }
    }

    pub(super) fn hello(&mut self, id: &str, now: u64) {
        if let Some(node) = self.nodes.get_mut(id) {
            node.synced = true;
        }
        if id == self.own {
            self.greeted = Some(now);
        } else if self.greeted.is_some() {
            self.effects.push(Effect::Tell);
        }
    }

    pub(super) fn beat(&mut self, id: &str, seats: usize, channels: usize, now: u64) {
        if let Some(node) = self.nodes.get_mut(id) {
            let counted: usize = node.seats.values().map(HashMap::len).sum();
            if node.synced && (counted != seats || node.channels.len() != channels) {
                node.synced = false;
                self.ask_again(id, now);
            }
        }
    }

    /// The clock: who is gone, who may go, whether presence is whole.
    pub fn tick(&mut self, now: u64) {
        let slept = self
            .ticked
            .replace(now)
            .is_some_and(|before| now.saturating_sub(before) > SLEPT);
        if slept {
            // We were stopped, not they: what they wrote meanwhile is still on its way.
            self.forgive(now);
        }
        if self.isolated {
            return;
        }
        let silent = self.timing.silent;
        if now.saturating_sub(self.heard_any) >= silent {
            self.isolated = true;
            self.effects.push(Effect::Isolated);
            return;
        }
        let gone: Vec<String> = self
            .nodes
            .iter()
            .filter(|(id, node)| {
                let is_left = node.leaving.is_some_and(|until| now >= until);
                let is_silent = now.saturating_sub(node.heard) >= silent;
                **id != self.own && (is_left || is_silent)
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.lose(&id);
        }
        if let (false, Some(greeted)) = (self.settled, self.greeted) {
            let all = self.nodes.values().all(|node| node.synced);
            self.settled = all || now.saturating_sub(greeted) >= self.timing.settle;
        }
        let unsynced: Vec<String> = self
            .nodes
            .iter()
            .filter(|(_, node)| !node.synced)
            .map(|(id, _)| id.clone())
            .collect();
        for id in unsynced {
            self.ask_again(&id, now);
        }
    }

    pub(super) fn lose(&mut self, id: &str) {
        let Some(node) = self.nodes.remove(id) else {
            return;
        };
        self.bury(id, node.sequence);
        // The same on every gateway, though each finds it out by its own clock.
        let cause = format!("gone {id}");
        let happened = self.totals.clear(&node.seats, &node.channels, &cause);
        for one in happened {
            self.note(Some(Happening {
                by_silence: true,
                ..one
            }));
        }
        self.effects.push(Effect::Drop {
            node: id.to_owned(),
        });
    }

    pub(super) fn note(&mut self, happened: Option<Happening>) {
        // What was so before we came has been told by others.
        if self.settled {
            self.effects.extend(happened.map(Effect::Happened));
        }
    }

    pub(super) fn bury(&mut self, id: &str, sequence: u64) {
        self.graves.retain(|(known, _)| known != id);
        self.graves.push_back((id.to_owned(), sequence));
        if self.graves.len() > GRAVES {
            self.graves.pop_front();
        }
    }

    pub(super) fn grave(&self, id: &str) -> u64 {
        let mut graves = self.graves.iter();
        graves
            .find(|(known, _)| known == id)
            .map_or(0, |(_, sequence)| *sequence)
    }
}
