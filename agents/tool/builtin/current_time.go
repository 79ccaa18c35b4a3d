package builtin

import (
	"context"
	_ "embed" // the text the model reads and the table of places
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // containers often come without time zones

	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/internal/fault"
)

//go:embed current_time.md
var currentTimeText string

// places.tsv has an IANA zone and, after a tab, the names people use for it.
//
//go:embed places.tsv
var placesTable string

type currentTimeArgs struct {
	Place string `json:"place" jsonschema:"a city, a country, an IANA time zone or UTC"`
}

type currentTimeData struct {
	Place string    `json:"place"`
	Zone  string    `json:"zone"`
	Time  time.Time `json:"time"`
}

type zones map[string]string

func newCurrentTime() (tool.Tool, error) {
	known, err := readZones(placesTable)
	if err != nil {
		return nil, err
	}
	return tool.New(tool.Spec{
		Name: "current_time", Title: "Look at the clock", Description: currentTimeText,
		Effect: tool.EffectRead, Review: tool.ReviewNever, Idempotent: true,
	}, known.tell, lengths("place", 1, 80))
}

func (z zones) tell(_ context.Context, inv tool.Invocation, a currentTimeArgs) (tool.Result, error) {
	zone, err := z.find(a.Place)
	if err != nil {
		return tool.Result{}, err
	}
	now := inv.Now().In(zone)
	place := strings.TrimSpace(a.Place)
	name := place
	if !strings.EqualFold(place, zone.String()) {
		name = fmt.Sprintf("%s (%s)", place, zone)
	}
	return tool.Text(
		fmt.Sprintf("%s: %s (UTC%s)", name, now.Format("Monday, 2 January 2006, 15:04"), now.Format("-07:00")),
		"Looked at the clock in "+place,
	).WithData(currentTimeData{Place: place, Zone: zone.String(), Time: now})
}

func (z zones) find(place string) (*time.Location, error) {
	key := fold(place)
	name, known := z[key]
	if !known && (strings.Contains(place, "/") || key == "utc" || key == "gmt") {
		name, known = strings.TrimSpace(place), true
	}
	if known {
		if key == "utc" || key == "gmt" {
			name = strings.ToUpper(key)
		}
		if zone, err := time.LoadLocation(name); err == nil {
			return zone, nil
		}
	}
	return nil, fault.Invalid("place", fmt.Sprintf(
		"%q is not known; name a large city or an IANA zone such as Europe/Oslo", place))
}

func readZones(table string) (zones, error) {
	z := zones{}
	for i, line := range strings.Split(strings.TrimSpace(table), "\n") {
		zone, names, ok := strings.Cut(line, "\t")
		if !ok {
			return nil, fmt.Errorf("reading the table of places, line %d: no tab", i+1)
		}
		z[fold(zone)] = zone
		for name := range strings.SplitSeq(names, ",") {
			z[fold(name)] = zone
		}
	}
	return z, nil
}

// fold makes the form under which a place is looked up: without case, outer
// space and the accents and articles that people leave out.
func fold(place string) string {
	place = strings.Join(strings.Fields(strings.ToLower(place)), " ")
	place = strings.TrimPrefix(place, "the ")
	return accents.Replace(place)
}

// accents is read, never changed.
var accents = strings.NewReplacer("á", "a", "ã", "a", "ä", "a", "å", "a", "é", "e", "ø", "o", "ó", "o", "ö", "o",
	"ü", "u", "í", "i", "ı", "i", "ç", "c", ".", "", "’", "'")
