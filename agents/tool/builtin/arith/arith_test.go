package arith

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEvalGivesExactOrRightlyRoundedNumbers(t *testing.T) {
	for text, want := range map[string]string{
		"17*23":                         "391",
		"1 + 2 * 3":                     "7",
		"(1 + 2) * 3":                   "9",
		"2^3^2":                         "512",
		"-2^2":                          "-4",
		"(-2)^2":                        "4",
		"2^-3":                          "0.125",
		"2**10":                         "1024",
		"--3":                           "3",
		"+-3":                           "-3",
		"0.1 + 0.2":                     "0.3",
		"1/3":                           "0.33333333333333333333",
		"2/3":                           "0.66666666666666666667",
		"1/3*3":                         "1",
		"10/4":                          "2.5",
		"17 % 5":                        "2",
		"-1 % 12":                       "11",
		"5.5 % 2":                       "1.5",
		"15%":                           "0.15",
		"15% * 80":                      "12",
		"50% - 3":                       "-2.5",
		"100 % 7 %":                     "0.04",
		"5!":                            "120",
		"3!!":                           "720",
		"2^100":                         "1267650600228229401496703205376",
		"1e3":                           "1000",
		"1.5e-3":                        "0.0015",
		"1E+2":                          "100",
		".5 + 5.":                       "5.5",
		"1,234,567 + 1":                 "1234568",
		"1_000":                         "1000",
		"max(1,234)":                    "234",
		"max(1,2,(1,234))":              "1234",
		"sqrt(144)":                     "12",
		"sqrt(2)":                       "1.4142135623730950488",
		"√2":                            "1.4142135623730950488",
		"√(9/4)":                        "1.5",
		"16^0.5":                        "4",
		"2^0.25":                        "1.18920711500272",
		"abs(-3)":                       "3",
		"round(2.5)":                    "3",
		"round(-2.5)":                   "-3",
		"round(2/3, 2)":                 "0.67",
		"floor(-1.5)":                   "-2",
		"ceil(-1.5)":                    "-1",
		"ceil(1.2)":                     "2",
		"min(3, 1, 2)":                  "1",
		"ln(e)":                         "1",
		"log(1000)":                     "3",
		"log2(8)":                       "3",
		"exp(0)":                        "1",
		"cos(0)":                        "1",
		"pi":                            "3.14159265358979",
		"PI * 2":                        "6.28318530717959",
		"6 × 7 − 2 ÷ 1":                 "40",
		"0^0":                           "1",
		"1^999999999":                   "1",
		"(-1)^1000000001":               "-1",
		"(-1)^-3":                       "-1",
		"0^1000000":                     "0",
		"factorial(5)":                  "120",
		"1/2^40":                        "9.0949470177292823792e-13",
		"  7 ":                          "7",
		"100000000000000000000000001/1": "100000000000000000000000001",
	} {
		t.Run(text, func(t *testing.T) {
			v, err := Eval(text)
			require.NoError(t, err)
			require.Equal(t, want, v.String())
		})
	}
}

func TestOnlyRoundedResultsSaySo(t *testing.T) {
	for text, want := range map[string]bool{
		"1/4": false, "1/3": true, "1/3*3": false, "sqrt(4)": false, "sqrt(2)": true,
		"sqrt(2)^2": true, "pi": true, "round(pi, 2)": false, "1/2^40": true,
	} {
		v, err := Eval(text)
		require.NoError(t, err)
		require.Equal(t, want, v.Rounded(), text)
	}
}

func TestMistakesAreToldWithTheirPlace(t *testing.T) {
	for text, want := range map[string]string{
		"":                              `at character 1: a number, a name or ( was expected, not the end`,
		"1 +":                           `at character 4: a number, a name or ( was expected, not the end`,
		"(1":                            `at character 3: ) was expected, not the end`,
		"1)":                            `at character 2: an operator was expected before ")"`,
		"2 3":                           `at character 3: an operator was expected before "3"`,
		"2x":                            `at character 2: an operator was expected before "x"`,
		"foo(1)":                        `at character 1: "foo" is neither a function nor a constant`,
		"sqrt 4":                        `( was expected after sqrt`,
		"sqrt(1, 2)":                    `sqrt: takes 1 value, not 2`,
		"round(1,2,3)":                  `takes 1 to 2 values, not 3`,
		"round(1, 99)":                  `from 0 to 50`,
		"1/0":                           `division by zero`,
		"1 % 0":                         `division by zero`,
		"0^-1":                          `division by zero`,
		"0^-0.5":                        `division by zero`,
		"sqrt(-1)":                      `not be a real number`,
		"(-8)^(1/3)":                    `not be a real number`,
		"ln(0)":                         `needs a number above 0`,
		"2^99999":                       `too large`,
		"9^9^9":                         `too large`,
		"2^9223372036854775808":         `too large`,
		"2^(-9223372036854775807-1)":    `too large`,
		"exp(1000)":                     `too large`,
		"1001!":                         `too large`,
		"1.5!":                          `whole number`,
		"1e9999":                        `the exponent must be at most 1000`,
		"1.2.3":                         `one point at most`,
		".":                             `digits were expected`,
		"1; drop":                       `an operator was expected before ";"`,
		"ünïcode":                       `not "ü"`,
		strings.Repeat("(", 60) + "1":   `nested deeper than 50`,
		strings.Repeat("-", 60) + "1":   `nested deeper than 50`,
		strings.Repeat("2^", 60) + "1":  `nested deeper than 50`,
		strings.Repeat("√", 60) + "1":   `nested deeper than 50`,
		strings.Repeat("1+", 300) + "1": `longer than 500`,
	} {
		t.Run(text, func(t *testing.T) {
			_, err := Eval(text)
			require.ErrorContains(t, err, want)
			require.True(t, errors.As(err, new(*Error)))
		})
	}
}

func FuzzEvalIsBoundedAndAddsUp(f *testing.F) {
	for _, seed := range []string{"17*23", "-(2^3)%5!", "sqrt(2)+1e3", "max(1,2,3)%", "√√16", "9^9^9", "1,000.5"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := Eval(text)
		if err != nil {
			require.True(t, errors.As(err, new(*Error)), "%v", err)
			return
		}
		require.False(t, tooLarge(v.Rat))
		require.Less(t, len(v.String()), 6000)
		if len(text) > MaxLength/2-8 || strings.Count(text, "(") > 40 {
			return
		}
		twice, err := Eval("(" + text + ")-(" + text + ")")
		if err != nil {
			require.ErrorContains(t, err, "deeper") // the parentheses we added
			return
		}
		require.Equal(t, "0", twice.String())
	})
}
