//! Replacing the rules while traffic flows.

use anyhow::{Context as _, Result, ensure};
use aya::maps::lpm_trie::Key;
use natbpf_common::contract::rules::{DestinationKey, Rule, RuleFlags, SourceKey};

use super::{Tables, replace};

/// Entries that the maps have room for, old and new together.
const SOURCES: usize = 4096;
const DESTINATIONS: usize = 8192;

impl Tables {
    /// Refuses rules that there is no room for, as long as the old ones are there.
    pub fn check_room(
        &self,
        sources: &[(u32, SourceKey, Rule)],
        destinations: &[(u32, DestinationKey, Rule)],
    ) -> Result<()> {
        let count = replace::most(&self.sources, sources)?;
        ensure!(
            count <= SOURCES,
            "the rules come to {count} networks of sources on their uplinks, old and new together; \
             there is room for {SOURCES}, so put networks together"
        );
        let count = replace::keys(&self.destinations)?.len() + destinations.len();
        ensure!(
            count <= DESTINATIONS,
            "the rules come to {count} destinations, old and new together; \
             there is room for {DESTINATIONS}, so put networks together"
        );
        Ok(())
    }

    /// Puts these rules in the place of those in the datapath. `sources` and `destinations` go with the lengths of
    /// their prefixes.
    ///
    /// At no moment does a source that is masqueraded before and after go untranslated, nor has a rule
    /// destinations that are not its own: the new rules get numbers that are not in use, then their destinations
    /// are written, then the sources are pointed at them, and what is left of the old goes last.
    pub fn replace_rules(
        &mut self,
        sources: &[(u32, SourceKey, Rule)],
        destinations: &[(u32, DestinationKey, Rule)],
    ) -> Result<()> {
        let old_destinations = replace::keys(&self.destinations)?;
        let base = self.free_number(&old_destinations)?;
        for (length, key, rule) in destinations {
            let key = DestinationKey { rule: base.wrapping_add(key.rule), ..*key };
            self.destinations
                .insert(&Key::new(*length, key), rule, 0)
                .context("cannot write a destination")?;
        }
        let numbered = |rule: &Rule| match rule.has(RuleFlags::DESTINATIONS) {
            true => Rule { id: base.wrapping_add(rule.id), ..*rule },
            false => *rule,
        };
        let sources: Vec<_> =
            sources.iter().map(|(length, key, rule)| (*length, *key, numbered(rule))).collect();
        replace::replace(&mut self.sources, &sources).context("cannot replace the sources")?;
        for (length, key) in old_destinations {
            self.destinations.remove(&Key::new(length, key)).context("cannot remove a destination")?;
        }
        Ok(())
    }

    /// A number above those in use.
    fn free_number(&self, destinations: &[(u32, DestinationKey)]) -> Result<u32> {
        let sources = replace::entries(&self.sources, "cannot read a rule")?;
        let sources = sources.iter().map(|(.., rule)| rule.id);
        let highest = destinations.iter().map(|(_, key)| key.rule).chain(sources).max();
        Ok(highest.map_or(0, |highest| highest.wrapping_add(1)))
    }
}
