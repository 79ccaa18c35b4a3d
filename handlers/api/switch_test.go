package api

import (
	"net/http/httptest"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/fault"
)

func TestASwitchIsReadTheSameWayEverywhere(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"": "as otherwise", "?on": "as otherwise", "?on=": "as otherwise", "?on=null": "as otherwise",
		"?on=1": "yes", "?on=true": "yes", "?on=True": "yes", "?on=TRUE": "yes", "?on=t": "yes",
		"?on=0": "no", "?on=false": "no", "?on=False": "no", "?on=F": "no",
		"?on=2": "refused", "?on=yes": "refused", "?on=%20": "refused", "?on=truth": "refused",
	} {
		for _, otherwise := range []bool{false, true} {
			app := fiber.New()
			var on bool
			var err error
			app.Get("/", func(c *fiber.Ctx) error {
				on, err = yes(c, "on", otherwise)
				return nil
			})
			resp, failed := app.Test(httptest.NewRequest(fiber.MethodGet, "/"+query, nil))
			require.NoError(t, failed)
			require.NoError(t, resp.Body.Close())
			if want == "refused" {
				require.Equal(t, map[string]string{"on": "must be true or false"}, fault.FieldsOf(err), query)
				continue
			}
			require.NoError(t, err, query)
			require.Equal(t, want == "yes" || want == "as otherwise" && otherwise, on, query)
		}
	}
}
