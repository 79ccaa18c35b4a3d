package gallery

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/testbrowser"
)

// TestADrawnGraphIsReadable measures the drawing as the browser shows it: names
// stay inside their nodes, nodes apart from each other, and no edge passes
// through a node.
func TestADrawnGraphIsReadable(t *testing.T) {
	server, _ := serve(t)
	browser := testbrowser.Start(t)
	for _, path := range []string{"/dev/graphs/chat", "/dev/graphs/research"} {
		tb := openTab(t, browser)
		tb.run(phone.action())
		tb.open(server.URL + path)
		require.Greater(t, eval[int](tb, `document.querySelectorAll(".graph-node").length`), 3)
		require.Empty(t, eval[string](tb, `[...document.querySelectorAll(".graph-node")].filter((g) => {
			const text = g.querySelector("text").getBBox(), rect = g.querySelector("rect").getBBox();
			return text.x < rect.x + 4 || text.x + text.width > rect.x + rect.width - 4;
		}).map((g) => g.textContent).join()`), "%s: names leave their nodes", path)
		require.Empty(t, eval[string](tb, `(() => {
			const svg = document.querySelector(".graph"), boxes = [...svg.querySelectorAll("rect")].map((r) => r.getBBox()), bad = [];
			boxes.forEach((a, i) => boxes.slice(i + 1).forEach((b) => {
				if (a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height) bad.push("nodes overlap");
			}));
			for (const edge of svg.querySelectorAll(".graph-edge")) {
				const length = edge.getTotalLength();
				for (let at = 0; at <= length; at += 2) {
					const p = edge.getPointAtLength(at);
					if (boxes.some((b) => p.x > b.x + 1 && p.x < b.x + b.width - 1 && p.y > b.y + 1 && p.y < b.y + b.height - 1)) { bad.push("through a node: " + edge.getAttribute("d")); break; }
					if (p.x < 0 || p.y < 0 || p.x > svg.viewBox.baseVal.width || p.y > svg.viewBox.baseVal.height) { bad.push("outside: " + edge.getAttribute("d")); break; }
				}
			}
			return bad.join("; ");
		})()`), path)
	}
}
