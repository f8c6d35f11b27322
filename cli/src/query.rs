//! `relatum query`

use serde_json::Value;

use crate::Global;
use crate::api::{Answer, Api};
use crate::chart::{Chart, Points};
use crate::failure::CommandFailure;
use crate::output::{in_series_colour, screen, warning};
use crate::query_plan::plan;
use crate::shared_labels::SharedLabels;
use crate::sparkline;
use crate::table::Table;
use crate::targets::labels;

#[derive(Debug, clap::Args)]
#[command(subcommand_negates_reqs = true)]
pub(crate) struct Args {
    /// Any Prometheus-compatible server, instead of the agent
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// As `query range`
    #[arg(long)]
    range: bool,
    /// Show what each part of the expression took, too
    #[arg(long, global = true)]
    explain: bool,
    #[command(flatten)]
    bare: Range,
    /// The moment, in seconds since 1970 or RFC 3339 [default: now]
    #[arg(long, conflicts_with = "range")]
    time: Option<String>,
    #[command(subcommand)]
    kind: Option<Kind>,
}

#[derive(Debug, clap::Subcommand)]
enum Kind {
    /// The value of an expression at one moment
    Instant {
        /// The expression
        #[arg(required = true)]
        expr: Vec<String>,
        /// The moment, in seconds since 1970 or RFC 3339 [default: now]
        #[arg(long)]
        time: Option<String>,
    },
    /// The values of an expression over time
    Range(Range),
    /// The series that match a selector
    Series {
        /// Selectors
        #[arg(required = true)]
        selectors: Vec<String>,
    },
    /// The names of all labels, or the values of one
    Labels {
        /// The label whose values to list
        name: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
struct Range {
    /// The expression
    #[arg(required = true)]
    expr: Vec<String>,
    /// The beginning of a range, in seconds since 1970 or RFC 3339 [default: --since before the end]
    #[arg(long)]
    start: Option<String>,
    /// The end of a range, in seconds since 1970 or RFC 3339 [default: now]
    #[arg(long)]
    end: Option<String>,
    /// How far a range goes back from its end [default: 1h]
    #[arg(long, value_name = "DURATION")]
    since: Option<String>,
    /// The distance of the points [default: one that gives about 60]
    #[arg(long, value_name = "DURATION")]
    step: Option<String>,
    /// One line of blocks for each series, instead of a chart
    #[arg(long)]
    table: bool,
}

impl Range {
    /// Whether something is said that only ranges have.
    fn is_meant(&self) -> bool {
        self.table || [&self.start, &self.end, &self.since, &self.step].into_iter().any(Option::is_some)
    }
}

/// No sparkline is wider.
const PLOT_COLUMNS_MAX: usize = 60;

/// Narrower ones show nothing.
const PLOT_COLUMNS_MIN: usize = 10;

/// What the numbers beside a sparkline and the series' labels take at least.
const BESIDE_PLOT_COLUMNS: usize = 3 * 11 + 24;

/// More lines than this hide each other.
const CHART_SERIES_MAX: usize = 12;

const CHART_HEIGHT_MAX: usize = 20;

/// Asks, and draws what can be drawn.
pub(crate) async fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    let api = match &args.url {
        Some(url) => Api::at(url)?,
        None => Api::of_agent(global).await?,
    };
    let Some(kind) = &args.kind else {
        return match args.range || args.bare.is_meant() {
            true if args.time.is_some() => Err(CommandFailure::usage("--time is for one moment, not for a range")),
            true => ask_range(global, &api, &args.bare, args.explain).await,
            false => ask_instant(global, &api, &args.bare.expr, args.time.as_deref(), args.explain).await,
        };
    };
    if args.range || args.time.is_some() || args.bare.is_meant() {
        return Err(CommandFailure::usage(
            "options of a query stand behind its kind: `relatum query range EXPR --since 1h`",
        ));
    }
    match kind {
        Kind::Instant { expr, time } => ask_instant(global, &api, expr, time.as_deref(), args.explain).await,
        Kind::Range(range) => ask_range(global, &api, range, args.explain).await,
        Kind::Series { selectors } => {
            let parameters: Vec<(&str, &str)> = selectors.iter().map(|s| ("match[]", s.as_str())).collect();
            print(global, &api.ask("series", &parameters).await?, |data| {
                let sets = data.as_array().into_iter().flatten();
                sets.map(|set| labels(set, &[]) + "\n").collect()
            })
        }
        Kind::Labels { name } => {
            let path = name.as_ref().map_or("labels".to_owned(), |name| format!("label/{name}/values"));
            print(global, &api.ask(&path, &[]).await?, |data| {
                let names = data.as_array().into_iter().flatten().filter_map(Value::as_str);
                names.map(|name| format!("{name}\n")).collect()
            })
        }
    }
}

async fn ask_instant(
    global: &Global,
    api: &Api,
    expr: &[String],
    time: Option<&str>,
    explain: bool,
) -> Result<(), CommandFailure> {
    let expr = expr.join(" ");
    let mut parameters = vec![("query", expr.as_str())];
    parameters.extend(time.map(|time| ("time", time)));
    parameters.extend(explain.then_some(("explain", "1")));
    print(global, &api.ask("query", &parameters).await?, |data| instant(data) + &plan(data))
}

async fn ask_range(global: &Global, api: &Api, asked: &Range, explain: bool) -> Result<(), CommandFailure> {
    let expr = asked.expr.join(" ");
    let since = seconds("--since", asked.since.as_deref().unwrap_or("1h"))?;
    let end = asked.end.as_deref().map_or_else(|| Ok(now()), |text| moment("--end", text))?;
    let start = asked.start.as_deref().map_or(Ok(end - since), |text| moment("--start", text))?;
    let step = asked
        .step
        .as_deref()
        .map_or_else(|| Ok(((end - start) / 60.0).max(1.0).round()), |text| seconds("--step", text))?;
    let (start_text, end_text, step_text) = (start.to_string(), end.to_string(), step.to_string());
    let mut parameters =
        vec![("query", expr.as_str()), ("start", &start_text), ("end", &end_text), ("step", &step_text)];
    parameters.extend(explain.then_some(("explain", "1")));
    let answer = api.ask("query_range", &parameters).await?;
    print(global, &answer, |data| match chart(data, (start, end), step, screen()) {
        Some(chart) if !asked.table => chart + &plan(data),
        _ => range(data, (start, end), screen().0) + &plan(data),
    })
}

fn print(global: &Global, answer: &Answer, tabular: impl FnOnce(&Value) -> String) -> Result<(), CommandFailure> {
    for note in &answer.notes {
        anstream::eprintln!("{} {note}", warning("note:"));
    }
    global.format.print(&answer.data, tabular)
}

fn instant(data: &Value) -> String {
    let value = |pair: &Value| pair[1].as_str().unwrap_or_default().to_owned();
    match data["resultType"].as_str() {
        Some("scalar" | "string") => value(&data["result"]) + "\n",
        Some("matrix") => {
            let mut text = String::new();
            for series in data["result"].as_array().into_iter().flatten() {
                text.push_str(&format!("{}\n", labels(&series["metric"], &[])));
                for point in series["values"].as_array().into_iter().flatten() {
                    text.push_str(&format!("  {} @{}\n", value(point), point[0]));
                }
            }
            text
        }
        _ => {
            let shared = shared(data);
            let mut table = Table::new(&["+Series", ">Value"]);
            for sample in data["result"].as_array().into_iter().flatten() {
                table.row([shared.rest(&sample["metric"]), value(&sample["value"])]);
            }
            shared.head() + &if table.is_empty() { "no series\n".to_owned() } else { table.render() }
        }
    }
}

/// A chart of all series with its legend; none when there are too many of them, or none with a number.
fn chart(data: &Value, (start, end): (f64, f64), step: f64, (width, height): (usize, usize)) -> Option<String> {
    let metrics: Vec<&Value> = data["result"].as_array().into_iter().flatten().collect();
    if metrics.len() > CHART_SERIES_MAX {
        return None;
    }
    let series: Vec<Points> = metrics.iter().map(|series| points(series)).collect();
    let height = (height / 2).clamp(10, CHART_HEIGHT_MAX);
    let drawn = Chart { series: &series, start, end, step, width, height }.draw();
    if drawn.is_empty() {
        return None;
    }
    let shared = shared(data);
    let mut legend = Table::new(&["", ">Min", ">Max", ">Last", "Series"]);
    for (at, (metric, points)) in metrics.iter().zip(&series).enumerate() {
        let [min, max, last] = extremes(points);
        legend.row([in_series_colour(at, "━━"), min, max, last, shared.rest(&metric["metric"])]);
    }
    Some(format!("{drawn}\n{}{}", shared.head(), legend.render()))
}

fn points(series: &Value) -> Points {
    let values = series["values"].as_array().into_iter().flatten();
    values.filter_map(|point| Some((point[0].as_f64()?, point[1].as_str()?.parse().ok()?))).collect()
}

/// The smallest, the largest and the last value, in few digits.
fn extremes(points: &Points) -> [String; 3] {
    let values = || points.iter().map(|(_, value)| *value);
    [
        short(values().fold(f64::INFINITY, f64::min)),
        short(values().fold(f64::NEG_INFINITY, f64::max)),
        short(values().next_back().unwrap_or(f64::NAN)),
    ]
}

fn range(data: &Value, (start, end): (f64, f64), columns: usize) -> String {
    let shared = shared(data);
    let width = columns.saturating_sub(BESIDE_PLOT_COLUMNS).clamp(PLOT_COLUMNS_MIN, PLOT_COLUMNS_MAX);
    let mut table = Table::new(&["=Plot", ">Min", ">Max", ">Last", "Series"]);
    for series in data["result"].as_array().into_iter().flatten() {
        let points = points(series);
        let [min, max, last] = extremes(&points);
        let plot = sparkline::draw(&points, start, end, width);
        table.row([plot, min, max, last, shared.rest(&series["metric"])]);
    }
    shared.head() + &if table.is_empty() { "no series\n".to_owned() } else { table.render() }
}

/// What all series of a result share.
fn shared(data: &Value) -> SharedLabels<'_> {
    SharedLabels::of(data["result"].as_array().into_iter().flatten().map(|series| &series["metric"]), &[])
}

/// Four significant digits: enough beside a plot.
fn short(value: f64) -> String {
    if value == value.trunc() && value.abs() < 1e9 { value.to_string() } else { format!("{value:.3e}") }
}

fn now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn seconds(option: &str, text: &str) -> Result<f64, CommandFailure> {
    match text.parse::<f64>() {
        Ok(seconds) => Ok(seconds),
        Err(_) => relatum_model::time::parse_duration(text)
            .map(|duration| duration.as_secs_f64())
            .map_err(|error| CommandFailure::usage(format!("{option}: {error}"))),
    }
}

fn moment(option: &str, text: &str) -> Result<f64, CommandFailure> {
    let bad = || CommandFailure::usage(format!("{option}: {text:?} is neither seconds since 1970 nor RFC 3339"));
    match text.parse::<f64>() {
        Ok(seconds) => Ok(seconds),
        Err(_) => text.parse::<jiff::Timestamp>().map(|t| t.as_millisecond() as f64 / 1000.0).map_err(|_| bad()),
    }
}
