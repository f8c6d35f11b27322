//! Reading the protobuf form.

use super::{
    Attributes, Data, Example, ExplicitHistogram, ExponentialBuckets, ExponentialHistogram, Metric, OtlpError,
    PARTS_MAX, Point, ResourceMetrics, ScopeMetrics, Summary, Temporality, Value,
};
use crate::protobuf::{Content, Field, Fields, unzigzag};

/// How deep values may be nested: far beyond real ones, and a bound for the stack.
const DEPTH_MAX: usize = 32;

/// Reads a decompressed body. Its size, and a bound on its parts, are what bounds all work.
pub fn decode(body: &[u8]) -> Result<Vec<ResourceMetrics>, OtlpError> {
    let mut reader = Reader { n_parts: 0 };
    let mut resources = Vec::new();
    let mut fields = Fields::new(body, 0);
    while let Some((number, field)) = fields.next()? {
        if number == 1 {
            resources.push(reader.resource(field.message()?)?);
        }
    }
    Ok(resources)
}

struct Reader {
    n_parts: usize,
}

impl Reader {
    fn count(&mut self) -> Result<(), OtlpError> {
        self.n_parts += 1;
        if self.n_parts > PARTS_MAX { Err(OtlpError::TooLarge) } else { Ok(()) }
    }

    fn resource(&mut self, mut fields: Fields<'_>) -> Result<ResourceMetrics, OtlpError> {
        self.count()?;
        let mut found = ResourceMetrics::default();
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => {
                    let mut resource = field.message()?;
                    while let Some((number, field)) = resource.next()? {
                        if number == 1 {
                            self.attribute(field.message()?, &mut found.attributes, 0)?;
                        }
                    }
                }
                2 => found.scopes.push(self.scope(field.message()?)?),
                _ => {}
            }
        }
        Ok(found)
    }

    fn scope(&mut self, mut fields: Fields<'_>) -> Result<ScopeMetrics, OtlpError> {
        self.count()?;
        let mut found = ScopeMetrics::default();
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => {
                    let mut scope = field.message()?;
                    while let Some((number, field)) = scope.next()? {
                        match number {
                            1 => found.name = field.text()?.to_owned(),
                            2 => found.version = field.text()?.to_owned(),
                            3 => self.attribute(field.message()?, &mut found.attributes, 0)?,
                            _ => {}
                        }
                    }
                }
                2 => found.metrics.push(self.metric(field.message()?)?),
                3 => found.schema_url = field.text()?.to_owned(),
                _ => {}
            }
        }
        Ok(found)
    }

    fn metric(&mut self, mut fields: Fields<'_>) -> Result<Metric, OtlpError> {
        self.count()?;
        let mut metric = Metric::default();
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => metric.name = field.text()?.to_owned(),
                2 => metric.description = field.text()?.to_owned(),
                3 => metric.unit = field.text()?.to_owned(),
                5 => metric.data = Data::Gauge(self.points(field.message()?, Reader::number)?.0),
                7 => {
                    let (points, temporality, is_monotonic) = self.points(field.message()?, Reader::number)?;
                    metric.data = Data::Sum { points, temporality, is_monotonic };
                }
                9 => {
                    let (points, temporality, _) = self.points(field.message()?, Reader::histogram)?;
                    metric.data = Data::Histogram { points, temporality };
                }
                10 => {
                    let (points, temporality, _) = self.points(field.message()?, Reader::exponential)?;
                    metric.data = Data::Exponential { points, temporality };
                }
                11 => metric.data = Data::Summary(self.points(field.message()?, Reader::summary)?.0),
                _ => {}
            }
        }
        Ok(metric)
    }

    /// The points of a metric, and what is said of all of them.
    fn points<T>(
        &mut self,
        mut fields: Fields<'_>,
        read: fn(&mut Self, Fields<'_>) -> Result<Point<T>, OtlpError>,
    ) -> Result<(Vec<Point<T>>, Temporality, bool), OtlpError> {
        let (mut points, mut temporality, mut is_monotonic) = (Vec::new(), Temporality::default(), false);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => {
                    self.count()?;
                    points.push(read(self, field.message()?)?);
                }
                2 => temporality = Temporality::of(field.uint()?),
                3 => is_monotonic = field.uint()? != 0,
                _ => {}
            }
        }
        Ok((points, temporality, is_monotonic))
    }

    fn number(&mut self, mut fields: Fields<'_>) -> Result<Point<f64>, OtlpError> {
        let mut point = Point::default();
        while let Some((number, field)) = fields.next()? {
            match number {
                2 => point.start_ns = fixed(&field)?,
                3 => point.time_ns = fixed(&field)?,
                4 => point.value = field.double()?,
                5 => point.exemplars.push(self.example(field.message()?)?),
                6 => point.value = fixed(&field)?.cast_signed() as f64,
                7 => self.attribute(field.message()?, &mut point.attributes, 0)?,
                8 => point.is_stale = field.uint()? & 1 != 0,
                _ => {}
            }
        }
        Ok(point)
    }

    fn histogram(&mut self, mut fields: Fields<'_>) -> Result<Point<ExplicitHistogram>, OtlpError> {
        let mut point = Point::<ExplicitHistogram>::default();
        while let Some((number, field)) = fields.next()? {
            match number {
                2 => point.start_ns = fixed(&field)?,
                3 => point.time_ns = fixed(&field)?,
                4 => point.value.count = fixed(&field)?,
                5 => point.value.sum = Some(field.double()?),
                // Fixed 64-bit numbers have the same bytes as doubles.
                6 => field.doubles(|bits| point.value.bucket_counts.push(bits.to_bits()))?,
                7 => field.doubles(|bound| point.value.bounds.push(bound))?,
                8 => point.exemplars.push(self.example(field.message()?)?),
                9 => self.attribute(field.message()?, &mut point.attributes, 0)?,
                10 => point.is_stale = field.uint()? & 1 != 0,
                _ => {}
            }
        }
        Ok(point)
    }

    fn exponential(&mut self, mut fields: Fields<'_>) -> Result<Point<ExponentialHistogram>, OtlpError> {
        let mut point = Point::<ExponentialHistogram>::default();
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => self.attribute(field.message()?, &mut point.attributes, 0)?,
                2 => point.start_ns = fixed(&field)?,
                3 => point.time_ns = fixed(&field)?,
                4 => point.value.count = fixed(&field)?,
                5 => point.value.sum = Some(field.double()?),
                6 => point.value.scale = signed(&field)?,
                7 => point.value.zero_count = fixed(&field)?,
                8 => point.value.positive = buckets(field.message()?)?,
                9 => point.value.negative = buckets(field.message()?)?,
                10 => point.is_stale = field.uint()? & 1 != 0,
                11 => point.exemplars.push(self.example(field.message()?)?),
                14 => point.value.zero_threshold = field.double()?,
                _ => {}
            }
        }
        Ok(point)
    }

    fn summary(&mut self, mut fields: Fields<'_>) -> Result<Point<Summary>, OtlpError> {
        let mut point = Point::<Summary>::default();
        while let Some((number, field)) = fields.next()? {
            match number {
                2 => point.start_ns = fixed(&field)?,
                3 => point.time_ns = fixed(&field)?,
                4 => point.value.count = fixed(&field)?,
                5 => point.value.sum = field.double()?,
                6 => {
                    self.count()?;
                    let (mut quantile, mut value) = (0.0, 0.0);
                    let mut pair = field.message()?;
                    while let Some((number, field)) = pair.next()? {
                        match number {
                            1 => quantile = field.double()?,
                            2 => value = field.double()?,
                            _ => {}
                        }
                    }
                    point.value.quantiles.push((quantile, value));
                }
                7 => self.attribute(field.message()?, &mut point.attributes, 0)?,
                8 => point.is_stale = field.uint()? & 1 != 0,
                _ => {}
            }
        }
        Ok(point)
    }

    fn example(&mut self, mut fields: Fields<'_>) -> Result<Example, OtlpError> {
        self.count()?;
        let mut example = Example::default();
        while let Some((number, field)) = fields.next()? {
            match number {
                2 => example.time_ns = fixed(&field)?,
                3 => example.value = field.double()?,
                4 => example.span_id = hexadecimal(field.message()?.rest()),
                5 => example.trace_id = hexadecimal(field.message()?.rest()),
                6 => example.value = fixed(&field)?.cast_signed() as f64,
                7 => self.attribute(field.message()?, &mut example.attributes, 0)?,
                _ => {}
            }
        }
        Ok(example)
    }

    fn attribute(&mut self, mut fields: Fields<'_>, into: &mut Attributes, depth: usize) -> Result<(), OtlpError> {
        self.count()?;
        let (mut name, mut value) = (String::new(), Value::Empty);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => name = field.text()?.to_owned(),
                2 => value = self.value(field.message()?, depth)?,
                _ => {}
            }
        }
        into.0.push((name, value));
        Ok(())
    }

    fn value(&mut self, mut fields: Fields<'_>, depth: usize) -> Result<Value, OtlpError> {
        if depth > DEPTH_MAX {
            return Err(fields.error("values are nested too deeply").into());
        }
        let mut value = Value::Empty;
        while let Some((number, field)) = fields.next()? {
            value = match number {
                1 => Value::Text(field.text()?.to_owned()),
                2 => Value::Bool(field.uint()? != 0),
                3 => Value::Int(field.uint()?.cast_signed()),
                4 => Value::Double(field.double()?),
                5 => {
                    let (mut items, mut list) = (Vec::new(), field.message()?);
                    while let Some((number, field)) = list.next()? {
                        if number == 1 {
                            self.count()?;
                            items.push(self.value(field.message()?, depth + 1)?);
                        }
                    }
                    Value::List(items)
                }
                6 => {
                    let (mut pairs, mut list) = (Attributes::default(), field.message()?);
                    while let Some((number, field)) = list.next()? {
                        if number == 1 {
                            self.attribute(field.message()?, &mut pairs, depth + 1)?;
                        }
                    }
                    Value::Map(pairs)
                }
                7 => Value::Bytes(field.message()?.rest().to_vec()),
                _ => value,
            };
        }
        Ok(value)
    }
}

fn buckets(mut fields: Fields<'_>) -> Result<ExponentialBuckets, OtlpError> {
    let mut found = ExponentialBuckets::default();
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => found.offset = signed(&field)?,
            2 => field.uints(|count| found.counts.push(count))?,
            _ => {}
        }
    }
    Ok(found)
}

/// Both kinds of ids have 16 bytes at most; a longer one is none.
fn hexadecimal(id: &[u8]) -> String {
    id.iter().filter(|_| id.len() <= 16).map(|byte| format!("{byte:02x}")).collect()
}

fn fixed(field: &Field<'_>) -> Result<u64, OtlpError> {
    match field.content {
        Content::Fixed64(bits) => Ok(bits),
        _ => Err(field.wrong_type().into()),
    }
}

fn signed(field: &Field<'_>) -> Result<i32, OtlpError> {
    let number = unzigzag(field.uint()?);
    i32::try_from(number).map_err(|_| OtlpError::Protobuf { at: field.at, reason: "number is out of range" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::push_varint;

    fn message(number: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        push_varint(&mut out, content.len() as u64);
        [out.as_slice(), content].concat()
    }

    fn fixed(number: u8, bits: u64) -> Vec<u8> {
        [&[number << 3 | 1][..], &bits.to_le_bytes()].concat()
    }

    #[test]
    fn a_request() {
        let text = |text: &[u8]| message(1, text);
        let attribute = |name: &[u8], value: &[u8]| [message(1, name), message(2, &message(1, value))].concat();
        let point = [fixed(2, 1), fixed(3, 2), fixed(6, -5i64 as u64), message(7, &attribute(b"k", b"v")), vec![64, 1]]
            .concat();
        let example = [fixed(2, 3), fixed(3, 2.5f64.to_bits()), message(4, &[1, 0xab]), message(5, &[2; 16])].concat();
        let point = [point, message(5, &example), message(5, &message(5, &[2; 17]))].concat();
        let sum = [message(1, &point), vec![16, 2, 24, 1]].concat();
        let buckets = [&[8, 3][..], &message(2, &[1, 2])].concat();
        let exponential =
            [fixed(3, 9), fixed(4, 3), fixed(5, 1.5f64.to_bits()), vec![48, 1], message(8, &buckets)].concat();
        let exponential = [message(1, &exponential), vec![16, 1]].concat();
        let metrics = [
            message(2, &[text(b"c"), message(3, b"s"), message(7, &sum)].concat()),
            message(2, &[text(b"h"), message(10, &exponential)].concat()),
        ]
        .concat();
        let scope = [message(1, &message(1, b"lib")), metrics].concat();
        let resource = [message(1, &message(1, &attribute(b"service.name", b"x"))), message(2, &scope)].concat();
        let body = [&[10, resource.len() as u8 | 0x80, (resource.len() >> 7) as u8][..], &resource].concat();
        let found = decode(&body).unwrap();
        assert_eq!(found[0].attributes.get("service.name"), Some(&Value::Text("x".into())));
        let scope = &found[0].scopes[0];
        assert_eq!((scope.name.as_str(), scope.metrics.len()), ("lib", 2));
        let Data::Sum { points, temporality: Temporality::Cumulative, is_monotonic: true } = &scope.metrics[0].data
        else {
            panic!("{:?}", scope.metrics[0]);
        };
        assert_eq!((points[0].value, points[0].start_ns, points[0].time_ns, points[0].is_stale), (-5.0, 1, 2, true));
        let example =
            Example { time_ns: 3, value: 2.5, span_id: "01ab".into(), trace_id: "02".repeat(16), ..Example::default() };
        assert_eq!(points[0].exemplars, [example, Example::default()]);
        let Data::Exponential { points, temporality: Temporality::Delta } = &scope.metrics[1].data else {
            panic!("{:?}", scope.metrics[1]);
        };
        let value = &points[0].value;
        assert_eq!((value.count, value.sum, value.scale), (3, Some(1.5), -1));
        assert_eq!(value.positive, ExponentialBuckets { offset: -2, counts: vec![1, 2] });
        for cut in 1..body.len() {
            // Never a panic; some prefixes are whole messages.
            let _ = decode(&body[..cut]);
        }
    }

    #[test]
    fn values_do_not_nest_without_end() {
        let mut value = message(1, b"x");
        for _ in 0..40 {
            value = message(5, &message(1, &value));
        }
        assert!(value.len() > 127 || decode(&message(1, &message(1, &message(1, &message(2, &value))))).is_err());
        let mut reader = Reader { n_parts: 0 };
        let mut value = Vec::new();
        for _ in 0..60 {
            value = message(5, &message(1, &value[..value.len().min(120)]));
        }
        let _ = reader.value(Fields::new(&value, 0), 0);
        assert!(reader.value(Fields::new(&[10, 1, b'x'], 0), DEPTH_MAX + 1).is_err());
    }
}
