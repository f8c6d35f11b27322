//! Reading the JSON form: protobuf's, with 64-bit numbers as texts or numbers, and enumerations as numbers or names.

use serde_json::{Map, Value as Json};

use super::{
    Attributes, Data, Example, ExplicitHistogram, ExponentialBuckets, ExponentialHistogram, Metric, OtlpError,
    PARTS_MAX, Point, ResourceMetrics, ScopeMetrics, Summary, Temporality, Value,
};

type Object = Map<String, Json>;

/// Reads a decompressed body.
pub fn decode_json(body: &[u8]) -> Result<Vec<ResourceMetrics>, OtlpError> {
    let root: Json = serde_json::from_slice(body).map_err(|error| OtlpError::Json(error.to_string()))?;
    let root = object(&root, "the request")?;
    list(root, "resourceMetrics")?.iter().map(resource).collect()
}

fn wrong(what: &str, wanted: &str) -> OtlpError {
    OtlpError::Json(format!("{what} is not {wanted}"))
}

fn object<'j>(value: &'j Json, what: &str) -> Result<&'j Object, OtlpError> {
    value.as_object().ok_or_else(|| wrong(what, "an object"))
}

fn list<'j>(of: &'j Object, key: &str) -> Result<&'j [Json], OtlpError> {
    match of.get(key) {
        None | Some(Json::Null) => Ok(&[]),
        Some(Json::Array(items)) if items.len() > PARTS_MAX => Err(OtlpError::TooLarge),
        Some(Json::Array(items)) => Ok(items),
        Some(_) => Err(wrong(key, "a list")),
    }
}

fn text(of: &Object, key: &str) -> Result<String, OtlpError> {
    match of.get(key) {
        None | Some(Json::Null) => Ok(String::new()),
        Some(Json::String(text)) => Ok(text.clone()),
        Some(_) => Err(wrong(key, "a text")),
    }
}

/// A 64-bit number, which is a text in protobuf's JSON, or a number where somebody writes it by hand.
fn integer(value: &Json, what: &str) -> Result<i128, OtlpError> {
    let found = match value {
        Json::String(text) => text.parse().ok(),
        Json::Number(number) => number
            .as_i64()
            .map(i128::from)
            .or_else(|| number.as_u64().map(i128::from))
            .or_else(|| number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 1e18).map(|n| n as i128)),
        _ => None,
    };
    found.ok_or_else(|| wrong(what, "a whole number"))
}

fn unsigned(of: &Object, key: &str) -> Result<u64, OtlpError> {
    match of.get(key) {
        None | Some(Json::Null) => Ok(0),
        Some(value) => u64::try_from(integer(value, key)?).map_err(|_| wrong(key, "a 64-bit number")),
    }
}

fn small(of: &Object, key: &str) -> Result<i32, OtlpError> {
    match of.get(key) {
        None | Some(Json::Null) => Ok(0),
        Some(value) => i32::try_from(integer(value, key)?).map_err(|_| wrong(key, "a 32-bit number")),
    }
}

fn float(value: &Json, what: &str) -> Result<f64, OtlpError> {
    match value {
        Json::Number(number) => number.as_f64().ok_or_else(|| wrong(what, "a number")),
        Json::String(text) => match text.as_str() {
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            text => text.parse().map_err(|_| wrong(what, "a number")),
        },
        _ => Err(wrong(what, "a number")),
    }
}

fn double(of: &Object, key: &str) -> Result<Option<f64>, OtlpError> {
    of.get(key).filter(|value| !value.is_null()).map(|value| float(value, key)).transpose()
}

fn resource(value: &Json) -> Result<ResourceMetrics, OtlpError> {
    let of = object(value, "resourceMetrics")?;
    let attributes = match of.get("resource") {
        Some(resource) if !resource.is_null() => attributes(object(resource, "resource")?)?,
        _ => Attributes::default(),
    };
    Ok(ResourceMetrics { attributes, scopes: list(of, "scopeMetrics")?.iter().map(scope).collect::<Result<_, _>>()? })
}

fn scope(value: &Json) -> Result<ScopeMetrics, OtlpError> {
    let of = object(value, "scopeMetrics")?;
    let mut found = ScopeMetrics {
        schema_url: text(of, "schemaUrl")?,
        metrics: list(of, "metrics")?.iter().map(metric).collect::<Result<_, _>>()?,
        ..ScopeMetrics::default()
    };
    if let Some(scope) = of.get("scope").filter(|scope| !scope.is_null()) {
        let scope = object(scope, "scope")?;
        found.name = text(scope, "name")?;
        found.version = text(scope, "version")?;
        found.attributes = attributes(scope)?;
    }
    Ok(found)
}

fn metric(value: &Json) -> Result<Metric, OtlpError> {
    let of = object(value, "metrics")?;
    let of_kind = |kind: &str| of.get(kind).filter(|data| !data.is_null()).map(|data| object(data, kind)).transpose();
    let data = if let Some(data) = of_kind("gauge")? {
        Data::Gauge(points(data, number)?)
    } else if let Some(data) = of_kind("sum")? {
        let is_monotonic = data.get("isMonotonic").and_then(Json::as_bool).unwrap_or(false);
        Data::Sum { points: points(data, number)?, temporality: temporality(data)?, is_monotonic }
    } else if let Some(data) = of_kind("histogram")? {
        Data::Histogram { points: points(data, histogram)?, temporality: temporality(data)? }
    } else if let Some(data) = of_kind("exponentialHistogram")? {
        Data::Exponential { points: points(data, exponential)?, temporality: temporality(data)? }
    } else if let Some(data) = of_kind("summary")? {
        Data::Summary(points(data, summary)?)
    } else {
        Data::None
    };
    Ok(Metric { name: text(of, "name")?, description: text(of, "description")?, unit: text(of, "unit")?, data })
}

fn temporality(of: &Object) -> Result<Temporality, OtlpError> {
    match of.get("aggregationTemporality") {
        None | Some(Json::Null) => Ok(Temporality::Unspecified),
        Some(Json::String(name)) => Ok(match name.as_str() {
            "AGGREGATION_TEMPORALITY_DELTA" => Temporality::Delta,
            "AGGREGATION_TEMPORALITY_CUMULATIVE" => Temporality::Cumulative,
            _ => Temporality::Unspecified,
        }),
        Some(value) => {
            let number = integer(value, "aggregationTemporality")?;
            Ok(Temporality::of(u64::try_from(number).unwrap_or_default()))
        }
    }
}

fn points<T>(of: &Object, read: fn(&Object) -> Result<T, OtlpError>) -> Result<Vec<Point<T>>, OtlpError> {
    let point = |value: &Json| {
        let of = object(value, "dataPoints")?;
        Ok(Point {
            attributes: attributes(of)?,
            start_ns: unsigned(of, "startTimeUnixNano")?,
            time_ns: unsigned(of, "timeUnixNano")?,
            is_stale: unsigned(of, "flags")? & 1 != 0,
            exemplars: list(of, "exemplars")?.iter().map(example).collect::<Result<_, _>>()?,
            value: read(of)?,
        })
    };
    list(of, "dataPoints")?.iter().map(point).collect()
}

fn example(value: &Json) -> Result<Example, OtlpError> {
    let of = object(value, "exemplars")?;
    // Ids are hexadecimal digits here, other than bytes elsewhere in protobuf's JSON.
    let id = |key: &str| {
        let is_id = |id: &String| id.len() <= 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        Ok::<_, OtlpError>(Some(text(of, key)?).filter(is_id).unwrap_or_default().to_ascii_lowercase())
    };
    Ok(Example {
        attributes: pairs(of, "filteredAttributes")?,
        time_ns: unsigned(of, "timeUnixNano")?,
        value: number(of)?,
        trace_id: id("traceId")?,
        span_id: id("spanId")?,
    })
}

fn number(of: &Object) -> Result<f64, OtlpError> {
    match of.get("asInt").filter(|value| !value.is_null()) {
        Some(value) => Ok(integer(value, "asInt")? as f64),
        None => Ok(double(of, "asDouble")?.unwrap_or_default()),
    }
}

fn histogram(of: &Object) -> Result<ExplicitHistogram, OtlpError> {
    Ok(ExplicitHistogram {
        count: unsigned(of, "count")?,
        sum: double(of, "sum")?,
        bucket_counts: counts(of, "bucketCounts")?,
        bounds: list(of, "explicitBounds")?
            .iter()
            .map(|bound| float(bound, "explicitBounds"))
            .collect::<Result<_, _>>()?,
    })
}

fn exponential(of: &Object) -> Result<ExponentialHistogram, OtlpError> {
    let buckets = |key: &str| match of.get(key) {
        None | Some(Json::Null) => Ok::<_, OtlpError>(ExponentialBuckets::default()),
        Some(found) => {
            let found = object(found, key)?;
            Ok(ExponentialBuckets { offset: small(found, "offset")?, counts: counts(found, "bucketCounts")? })
        }
    };
    Ok(ExponentialHistogram {
        count: unsigned(of, "count")?,
        sum: double(of, "sum")?,
        scale: small(of, "scale")?,
        zero_count: unsigned(of, "zeroCount")?,
        zero_threshold: double(of, "zeroThreshold")?.unwrap_or_default(),
        positive: buckets("positive")?,
        negative: buckets("negative")?,
    })
}

fn counts(of: &Object, key: &str) -> Result<Vec<u64>, OtlpError> {
    let count = |value: &Json| u64::try_from(integer(value, key)?).map_err(|_| wrong(key, "a list of counts"));
    list(of, key)?.iter().map(count).collect()
}

fn summary(of: &Object) -> Result<Summary, OtlpError> {
    let pair = |value: &Json| {
        let of = object(value, "quantileValues")?;
        Ok((double(of, "quantile")?.unwrap_or_default(), double(of, "value")?.unwrap_or_default()))
    };
    Ok(Summary {
        count: unsigned(of, "count")?,
        sum: double(of, "sum")?.unwrap_or_default(),
        quantiles: list(of, "quantileValues")?.iter().map(pair).collect::<Result<_, OtlpError>>()?,
    })
}

fn attributes(of: &Object) -> Result<Attributes, OtlpError> {
    pairs(of, "attributes")
}

fn pairs(of: &Object, key: &str) -> Result<Attributes, OtlpError> {
    let pair = |value: &Json| {
        let of = object(value, key)?;
        let value = of.get("value").map_or(Ok(Value::Empty), any)?;
        Ok((text(of, "key")?, value))
    };
    Ok(Attributes(list(of, key)?.iter().map(pair).collect::<Result<_, OtlpError>>()?))
}

/// A value by its kind. The parser bounds how deep it may be nested.
fn any(value: &Json) -> Result<Value, OtlpError> {
    let Some((kind, value)) = object(value, "value")?.iter().next() else { return Ok(Value::Empty) };
    Ok(match kind.as_str() {
        "stringValue" => Value::Text(value.as_str().ok_or_else(|| wrong(kind, "a text"))?.to_owned()),
        "boolValue" => Value::Bool(value.as_bool().ok_or_else(|| wrong(kind, "a boolean"))?),
        "intValue" => Value::Int(i64::try_from(integer(value, kind)?).map_err(|_| wrong(kind, "a 64-bit number"))?),
        "doubleValue" => Value::Double(float(value, kind)?),
        "arrayValue" => Value::List(list(object(value, kind)?, "values")?.iter().map(any).collect::<Result<_, _>>()?),
        "kvlistValue" => {
            let pair = |value: &Json| {
                let of = object(value, kind)?;
                Ok((text(of, "key")?, of.get("value").map_or(Ok(Value::Empty), any)?))
            };
            let pairs = list(object(value, kind)?, "values")?.iter().map(pair).collect::<Result<_, OtlpError>>()?;
            Value::Map(Attributes(pairs))
        }
        // Already in base64, which is how it is shown.
        "bytesValue" => Value::Text(value.as_str().ok_or_else(|| wrong(kind, "a text"))?.to_owned()),
        _ => Value::Empty,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request() {
        let body = r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"x"}}]},
            "scopeMetrics":[{"scope":{"name":"lib"},"metrics":[
              {"name":"c","unit":"s","sum":{"aggregationTemporality":2,"isMonotonic":true,
                "dataPoints":[{"asInt":"-5","timeUnixNano":"2","startTimeUnixNano":1,"flags":1,
                  "attributes":[{"key":"k","value":{"arrayValue":{"values":[{"intValue":"1"},{"boolValue":true}]}}}]}]}},
              {"name":"h","exponentialHistogram":{"aggregationTemporality":"AGGREGATION_TEMPORALITY_DELTA",
                "dataPoints":[{"count":"3","sum":1.5,"scale":-1,"positive":{"offset":-2,"bucketCounts":["1",2]}}]}}]}]}]}"#;
        let found = decode_json(body.as_bytes()).unwrap();
        let metrics = &found[0].scopes[0].metrics;
        let Data::Sum { points, temporality: Temporality::Cumulative, is_monotonic: true } = &metrics[0].data else {
            panic!("{metrics:?}");
        };
        assert_eq!((points[0].value, points[0].start_ns, points[0].time_ns, points[0].is_stale), (-5.0, 1, 2, true));
        assert_eq!(points[0].attributes.get("k").unwrap().to_text(), "[1,true]");
        let Data::Exponential { points, temporality: Temporality::Delta } = &metrics[1].data else {
            panic!("{metrics:?}");
        };
        assert_eq!(points[0].value.positive, ExponentialBuckets { offset: -2, counts: vec![1, 2] });
    }

    #[test]
    fn what_is_no_request() {
        for (body, expected) in [
            ("", "cannot decode metrics: EOF while parsing a value at line 1 column 0"),
            ("[]", "cannot decode metrics: the request is not an object"),
            (r#"{"resourceMetrics":{}}"#, "cannot decode metrics: resourceMetrics is not a list"),
            (
                r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":[{"asInt":"x"}]}}]}]}]}"#,
                "cannot decode metrics: asInt is not a whole number",
            ),
        ] {
            assert_eq!(decode_json(body.as_bytes()).unwrap_err().to_string(), expected, "{body}");
        }
    }
}
