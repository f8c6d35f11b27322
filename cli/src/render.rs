//! `relatum render`

use crate::Global;
use crate::dry_run::differences;
use crate::failure::CommandFailure;
use crate::output::faint;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print secrets as they are
    #[arg(long)]
    show_secrets: bool,
    /// Print how what would be rendered differs from what is on disk
    #[arg(long)]
    diff: bool,
}

/// Prints the files that configure the server, as they are on disk.
pub(crate) async fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    if args.diff {
        let rehearsal = global.client().render_difference(args.show_secrets).await?;
        return global.format.print(&rehearsal, |rehearsal| match rehearsal.files.as_slice() {
            [] => "nothing differs\n".to_owned(),
            files => differences(files),
        });
    }
    let rendered = global.client().render(args.show_secrets).await?;
    global.format.print(&rendered, |rendered| {
        let files = rendered.files.iter().map(|file| {
            let end = if file.text.ends_with('\n') { "" } else { "\n" };
            format!("{}\n{}{end}", faint(&format!("# {}/{}", rendered.directory, file.path)), file.text)
        });
        files.collect::<Vec<_>>().join("\n")
    })
}
