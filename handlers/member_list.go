package handlers

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/views/admin"
	"github.com/heddle/heddle/views/ui"
)

// memberList is what the address of a list of members asks for.
type memberList struct {
	text string
	role auth.Role
	sort auth.MemberSort
	down bool
	page int
}

// maxFilterText bounds the text of a filter, in characters.
const maxFilterText = 200

// maxListPage bounds how far a list can be turned.
const maxListPage = 10_000

// readMemberList reads the address; a fault names each parameter that is wrong.
func readMemberList(c *fiber.Ctx) (memberList, error) {
	ask := memberList{text: strings.TrimSpace(utils.CopyString(c.Query("q"))), role: auth.Role(utils.CopyString(c.Query("role"))),
		sort: auth.MemberSort(utils.CopyString(c.Query("sort", string(auth.SortByName)))), page: 1}
	wrong := map[string]string{}
	if utf8.RuneCountInString(ask.text) > maxFilterText {
		wrong["q"] = "must have at most 200 characters"
	}
	if ask.role != "" && !ask.role.Valid() {
		wrong["role"] = "must be member, reviewer, admin or owner"
	}
	if !slices.Contains(auth.MemberSorts(), ask.sort) {
		wrong["sort"] = "must be name, role or joined"
	}
	switch c.Query("dir", "asc") {
	case "asc":
	case "desc":
		ask.down = true
	default:
		wrong["dir"] = "must be asc or desc"
	}
	if page := c.Query("page"); page != "" {
		n, err := strconv.Atoi(page)
		if err != nil || n < 1 || n > maxListPage {
			wrong["page"] = "must be a number from 1 to 10000"
		}
		ask.page = n
	}
	if len(wrong) > 0 {
		return ask, fault.InvalidFields(wrong)
	}
	return ask, nil
}

func (l memberList) query() auth.MemberQuery {
	return auth.MemberQuery{Text: l.text, Role: l.role, Sort: l.sort, Descending: l.down, Skip: (l.page - 1) * auth.MemberPage}
}

// href is the address of the list; what is usual stays out of it.
func (l memberList) href() string {
	values := url.Values{}
	if l.text != "" {
		values.Set("q", l.text)
	}
	if l.role != "" {
		values.Set("role", string(l.role))
	}
	if l.sort != auth.SortByName {
		values.Set("sort", string(l.sort))
	}
	if l.down {
		values.Set("dir", "desc")
	}
	if l.page > 1 {
		values.Set("page", strconv.Itoa(l.page))
	}
	if len(values) == 0 {
		return "/admin/members"
	}
	return "/admin/members?" + values.Encode()
}

// present fills in the filter, the heads of columns and the pages.
func (l memberList) present(view *admin.Members, total int) {
	view.Text, view.Filtered = l.text, l.text != "" || l.role != ""
	view.Sort, view.Dir = string(l.sort), "asc"
	if l.down {
		view.Dir = "desc"
	}
	view.Found = counted(total, "member", "members")
	view.Roles = []ui.Option{{Value: "", Label: "All roles", Selected: l.role == ""}}
	for _, r := range auth.Roles() {
		view.Roles = append(view.Roles, ui.Option{Value: string(r), Label: string(r), Selected: r == l.role})
	}
	for _, sort := range auth.MemberSorts() {
		to := l
		to.sort, to.page, to.down = sort, 1, sort == l.sort && !l.down
		column := admin.MemberColumn{Label: sortWords(sort), Href: to.href(), Wide: sort == auth.SortByJoined}
		if sort == l.sort {
			column.Sorted = map[bool]string{false: "ascending", true: "descending"}[l.down]
		}
		view.Columns = append(view.Columns, column)
	}
	if l.page > 1 {
		to := l
		to.page--
		view.Before = to.href()
	}
	if total > l.page*auth.MemberPage {
		to := l
		to.page++
		view.After = to.href()
	}
}

func sortWords(s auth.MemberSort) string {
	switch s {
	case auth.SortByRole:
		return "Role"
	case auth.SortByJoined:
		return "Joined"
	default:
		return "Name"
	}
}

// notice says what the form that led here did. The words are fixed: an address
// can't put others on the page.
func notice(c *fiber.Ctx) []ui.Flash {
	said := map[string]string{
		"role": "The role was changed.", "removed": "The member was removed.", "withdrawn": "The invitation was withdrawn.",
		"revoked": "The key was revoked.", "name": "The name was saved.", "rule": "The rule was saved.",
	}[c.Query("done")]
	if said == "" {
		return nil
	}
	return []ui.Flash{{Tone: ui.Good, Text: said}}
}
