package builtin

import (
	"context"
	_ "embed" // the text the model reads and the data
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/internal/fault"
)

//go:embed weather.md
var weatherText string

// weather.tsv has city, °C, sky, wind in km/h and humidity in percent.
//
//go:embed weather.tsv
var weatherTable string

type weatherArgs struct {
	Place string `json:"place" jsonschema:"one city, such as Berlin"`
	Unit  string `json:"unit,omitempty" jsonschema:"celsius (the default) or fahrenheit"`
}

type weatherData struct {
	City     string `json:"city"`
	Celsius  int    `json:"celsius"`
	Sky      string `json:"sky"`
	WindKMH  int    `json:"wind_kmh"`
	Humidity int    `json:"humidity_percent"`
	Demo     bool   `json:"demo"`
}

type almanac struct {
	byCity map[string]weatherData
	cities []string
}

func newWeather() (tool.Tool, error) {
	a, err := readAlmanac(weatherTable)
	if err != nil {
		return nil, err
	}
	return tool.New(tool.Spec{
		Name: "weather", Title: "Look up the weather", Description: weatherText,
		Effect: tool.EffectRead, Review: tool.ReviewNever, Idempotent: true,
	}, a.tell, lengths("place", 1, 80), func(s *jsonschema.Schema) {
		s.Properties["unit"].Enum = []any{"celsius", "fahrenheit"}
	})
}

func (a *almanac) tell(_ context.Context, _ tool.Invocation, args weatherArgs) (tool.Result, error) {
	w, known := a.byCity[fold(args.Place)]
	if !known {
		return tool.Result{}, fault.Invalid("place", fmt.Sprintf(
			"there is no demo weather for %q; known are: %s", args.Place, strings.Join(a.cities, ", ")))
	}
	degrees := fmt.Sprintf("%d °C", w.Celsius)
	if args.Unit == "fahrenheit" {
		degrees = fmt.Sprintf("%d °F", int(math.Round(float64(w.Celsius)*9/5+32)))
	}
	return tool.Text(
		fmt.Sprintf("%s: %s, %s, wind %d km/h, humidity %d %% (demo data)", w.City, degrees, w.Sky, w.WindKMH, w.Humidity),
		"Looked up the weather in "+w.City,
	).WithData(w)
}

func readAlmanac(table string) (*almanac, error) {
	a := &almanac{byCity: map[string]weatherData{}}
	for i, line := range strings.Split(strings.TrimSpace(table), "\n") {
		w := weatherData{Demo: true}
		cells := strings.Split(line, "\t")
		if len(cells) != 5 {
			return nil, fmt.Errorf("reading the weather table, line %d: %d cells instead of 5", i+1, len(cells))
		}
		w.City, w.Sky = cells[0], cells[2]
		for at, into := range map[int]*int{1: &w.Celsius, 3: &w.WindKMH, 4: &w.Humidity} {
			n, err := strconv.Atoi(cells[at])
			if err != nil {
				return nil, fmt.Errorf("reading the weather table, line %d: %w", i+1, err)
			}
			*into = n
		}
		a.byCity[fold(w.City)] = w
		a.cities = append(a.cities, w.City)
	}
	return a, nil
}
