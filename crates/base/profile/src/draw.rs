//! A flame graph: a picture of a profile that needs nothing beside itself.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::Profile;

/// The picture's width, a frame's height and the least width of a frame that is drawn, in pixels.
const WIDTH: f64 = 1200.0;
const ROW: f64 = 17.0;
const LEAST: f64 = 0.3;
/// About as wide as a letter is.
const LETTER: f64 = 6.6;
const HEAD: f64 = 44.0;

/// A function and what it called.
#[derive(Default)]
struct Frame {
    samples: u64,
    calls: BTreeMap<String, Frame>,
}

impl Frame {
    fn depth(&self, width_of_one: f64) -> usize {
        let shown = self.calls.values().filter(|f| f.samples as f64 * width_of_one >= LEAST);
        1 + shown.map(|f| f.depth(width_of_one)).max().unwrap_or(0)
    }
}

fn tree(profile: &Profile) -> Frame {
    let mut root = Frame::default();
    for (frames, samples) in &profile.stacks {
        root.samples += samples;
        let mut at = &mut root;
        for frame in frames {
            at = at.calls.entry(frame.clone()).or_default();
            at.samples += samples;
        }
    }
    root
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A warm colour, the same for the same name.
fn colour(name: &str) -> String {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    format!("hsl({} {}% {}%)", 8 + hash % 42, 68 + hash / 42 % 20, 58 + hash / 840 % 12)
}

/// Zooms into what is clicked: all other frames move and grow with it. `data-x` and `data-w` are shares of the whole.
const SCRIPT: &str = r#"
const frames = [...document.querySelectorAll('g.f')], W = 1200, L = 6.6;
function zoom(x, w) {
  for (const g of frames) {
    const gx = (+g.dataset.x - x) / w, gw = +g.dataset.w / w, over = gx < 0 ? 0 : gx, end = Math.min(gx + gw, 1);
    const wide = Math.max((end - over) * W, 0), r = g.children[1], t = g.children[2];
    g.style.display = wide < 0.3 ? 'none' : '';
    r.setAttribute('x', over * W); r.setAttribute('width', Math.max(wide - 0.4, 0.2));
    t.setAttribute('x', over * W + 3);
    const n = g.dataset.n, fit = Math.floor((wide - 5) / L);
    t.textContent = fit < 3 ? '' : n.length <= fit ? n : n.slice(0, fit - 1) + '…';
  }
}
for (const g of frames) g.addEventListener('click', () => zoom(+g.dataset.x, +g.dataset.w));
document.getElementById('all').addEventListener('click', () => zoom(0, 1));
zoom(0, 1);
"#;

/// The profile as an SVG. A frame is as wide as its share of the samples and lies under what it called; pointing at it shows its
/// whole name and share, a click zooms.
pub fn svg(profile: &Profile) -> String {
    let root = tree(profile);
    let all = root.samples.max(1);
    let width_of_one = WIDTH / all as f64;
    let height = HEAD + root.depth(width_of_one) as f64 * ROW + 8.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"ui-monospace, monospace\" font-size=\"11\"><style>.f{{cursor:pointer}}.f:hover rect{{stroke:#000}}\
         #all{{cursor:pointer}}</style><rect width=\"100%\" height=\"100%\" fill=\"#fffdf7\"/>"
    );
    let lost = if profile.lost > 0 { format!(", {} lost", profile.lost) } else { String::new() };
    let _ = write!(
        out,
        "<text id=\"all\" x=\"8\" y=\"18\" font-size=\"14\">Processor time of fleuve: {} samples in {} s{lost}</text>\
         <text x=\"8\" y=\"34\" fill=\"#666\">{} samples a second of processor time; a click on a frame zooms, one on the title \
         shows all</text>",
        root.samples,
        profile.seconds,
        crate::HERTZ
    );
    if root.samples == 0 {
        let _ = write!(out, "<text x=\"8\" y=\"{}\">Nothing ran.</text>", HEAD + 12.0);
    }
    // The outermost frames are at the bottom, as flame graphs have them.
    let mut below = vec![(&root, 0_u64, 0_usize)];
    while let Some((frame, from, depth)) = below.pop() {
        let mut at = from;
        for (name, call) in &frame.calls {
            if call.samples as f64 * width_of_one >= LEAST {
                draw(&mut out, name, call, (at, all), height - (depth as f64 + 1.0) * ROW - 6.0);
                below.push((call, at, depth + 1));
            }
            at += call.samples;
        }
    }
    let _ = write!(out, "<script><![CDATA[{SCRIPT}]]></script></svg>");
    out
}

fn draw(out: &mut String, name: &str, frame: &Frame, (from, all): (u64, u64), y: f64) {
    let (x, wide) = (from as f64 / all as f64, frame.samples as f64 / all as f64);
    let shown = escaped(name);
    let fit = ((wide * WIDTH - 5.0) / LETTER).max(0.0) as usize;
    let text = if name.chars().count() <= fit {
        shown.clone()
    } else if fit < 3 {
        String::new()
    } else {
        format!("{}…", escaped(&name.chars().take(fit - 1).collect::<String>()))
    };
    let _ = write!(
        out,
        "<g class=\"f\" data-x=\"{x:.6}\" data-w=\"{wide:.6}\" data-n=\"{shown}\"><title>{shown}\n{} samples, {:.2} %</title>\
         <rect x=\"{:.2}\" y=\"{y:.1}\" width=\"{:.2}\" height=\"{:.1}\" rx=\"1\" fill=\"{}\"/>\
         <text x=\"{:.2}\" y=\"{:.1}\">{text}</text></g>",
        frame.samples,
        wide * 100.0,
        x * WIDTH,
        (wide * WIDTH - 0.4).max(0.2),
        ROW - 1.0,
        colour(name),
        x * WIDTH + 3.0,
        y + 12.0,
    );
}
