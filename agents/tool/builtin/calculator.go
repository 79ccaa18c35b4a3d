package builtin

import (
	"context"
	_ "embed" // the text the model reads

	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/agents/tool/builtin/arith"
	"github.com/heddle/heddle/internal/fault"
)

//go:embed calculator.md
var calculatorText string

type calculatorArgs struct {
	Expression string `json:"expression" jsonschema:"the expression, such as (17 + 3) * 2.5^3"`
}

type calculatorData struct {
	Expression string `json:"expression"`
	Result     string `json:"result"`
	Exact      bool   `json:"exact"`
}

func newCalculator() (tool.Tool, error) {
	return tool.New(tool.Spec{
		Name: "calculator", Title: "Calculate", Description: calculatorText,
		Effect: tool.EffectRead, Review: tool.ReviewNever, Idempotent: true,
	}, calculate, lengths("expression", 1, arith.MaxLength))
}

func calculate(_ context.Context, _ tool.Invocation, a calculatorArgs) (tool.Result, error) {
	value, err := arith.Eval(a.Expression)
	if err != nil {
		return tool.Result{}, fault.Invalid("expression", err.Error())
	}
	content := a.Expression + " = " + value.String()
	if value.Rounded() {
		content += " (rounded)"
	}
	return tool.Text(content, "Calculated "+a.Expression).
		WithData(calculatorData{Expression: a.Expression, Result: value.String(), Exact: !value.Rounded()})
}
