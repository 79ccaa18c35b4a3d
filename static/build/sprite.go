package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// drawSprite joins the icons of src/icons.txt into one hidden SVG element with
// a symbol each, whose ids are "i-" and our name.
func drawSprite(dir string) ([]byte, error) {
	list, err := os.ReadFile(filepath.Join(dir, "src/icons.txt"))
	if err != nil {
		return nil, fmt.Errorf("reading the list of icons: %w", err)
	}
	var out bytes.Buffer
	out.WriteString(`<svg xmlns="http://www.w3.org/2000/svg" class="sprite" width="0" height="0" aria-hidden="true" focusable="false">`)
	for line := range strings.Lines(string(list)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] == "#" {
			continue
		}
		if len(fields) != 2 {
			return nil, fmt.Errorf("the list of icons has a line that is not two words: %q", line)
		}
		raw, err := os.ReadFile(filepath.Join(dir, "node_modules/lucide-static/icons", fields[1]+".svg"))
		if err != nil {
			return nil, fmt.Errorf("reading the icon %s: %w", fields[0], err)
		}
		shapes, err := shapesOf(raw)
		if err != nil {
			return nil, fmt.Errorf("reading the icon %s: %w", fields[0], err)
		}
		fmt.Fprintf(&out, `<symbol id="i-%s" viewBox="0 0 24 24">%s</symbol>`, fields[0], shapes)
	}
	out.WriteString("</svg>")
	return out.Bytes(), nil
}

// shapesOf keeps the drawing elements of an SVG file and nothing else.
func shapesOf(raw []byte) (string, error) {
	var out strings.Builder
	dec := xml.NewDecoder(bytes.NewReader(raw))
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return out.String(), nil
		}
		if err != nil {
			return "", fmt.Errorf("parsing SVG: %w", err)
		}
		el, ok := token.(xml.StartElement)
		if !ok || el.Name.Local == "svg" {
			continue
		}
		switch el.Name.Local {
		case "path", "circle", "rect", "line", "polyline", "polygon", "ellipse":
		default:
			return "", fmt.Errorf("an SVG element %q that is no shape", el.Name.Local)
		}
		out.WriteString("<" + el.Name.Local)
		for _, a := range el.Attr {
			out.WriteString(" " + a.Name.Local + `="`)
			if err := xml.EscapeText(&out, []byte(a.Value)); err != nil {
				return "", fmt.Errorf("escaping an attribute: %w", err)
			}
			out.WriteString(`"`)
		}
		out.WriteString("/>")
	}
}
