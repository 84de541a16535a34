//! Neutron's API, version 2.0, by curl in the pod.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::hosts::pod::Pod;

/// Until its agents have done what they are told.
pub const LIMIT: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, Debug)]
pub struct Api<'a>(pub &'a Pod);

impl Api<'_> {
    pub fn get(&self, path: &str) -> Result<Value> {
        self.call("GET", path, None)
    }

    /// Makes something of this kind (singular) and returns it.
    pub fn create(&self, kind: &str, about: Value) -> Result<Value> {
        let body = serde_json::json!({ kind: about });
        let made = self.call("POST", &format!("{}s", kind.replace('_', "-")), Some(&body))?;
        Ok(made[kind].clone())
    }

    pub fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.call("PUT", path, Some(body))
    }

    pub fn delete(&self, path: &str) -> Result<()> {
        self.call("DELETE", path, None).map(drop)
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let body = body.map(Value::to_string);
        let data = body.iter().flat_map(|body| ["-d", body]);
        let text = self
            .0
            .program("curl")
            .args(["-q", "-sS", "-m", "60", "-X", method, "-H", "Content-Type: application/json"])
            .args(data)
            .arg(format!("http://127.0.0.1:9696/v2.0/{path}"))
            .output_text()?;
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        let answer: Value =
            serde_json::from_str(&text).with_context(|| format!("{method} {path}: {text}"))?;
        ensure!(answer["NeutronError"].is_null(), "{method} {path}: {}", answer["NeutronError"]);
        Ok(answer)
    }
}

/// A field that is text.
pub fn text(value: &Value, name: &str) -> Result<String> {
    Ok(value[name].as_str().with_context(|| format!("no {name} in {value}"))?.to_owned())
}

pub fn id(value: &Value) -> Result<String> {
    text(value, "id")
}
