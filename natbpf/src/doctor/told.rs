//! A cause that was found, as programs read it.

use serde::Serialize;

use super::{Evidence, Found, Severity, Stage};

#[derive(Debug, Serialize)]
pub struct Told<'a> {
    cause: &'a str,
    /// Where all have the same, it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<&'a str>,
    stage: &'a str,
    /// `null`: the one that was asked for.
    namespace: Option<&'a str>,
    object: &'a str,
    sentence: &'a str,
    evidence: &'a [Evidence],
    mend: &'a [String],
}

impl<'a> Told<'a> {
    pub fn new(cause: &'a str, severity: Option<Severity>, stage: Stage, found: &'a Found) -> Self {
        Self {
            cause,
            severity: severity.map(Severity::name),
            stage: stage.name(),
            namespace: Some(&*found.place).filter(|place| !place.is_empty()),
            object: &found.object,
            sentence: &found.sentence,
            evidence: &found.evidence,
            mend: &found.mend,
        }
    }
}
