package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// WriteTable writes the report for people, in aligned columns. A cell is the median over the turns, and the range when there was
// more than one.
func (r *Report) WriteTable(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	head := append([]string{"benchmark", "fabric", "np", "size", "unit"}, r.Runners...)
	if len(r.Runners) > 1 {
		head = append(head, "ratio")
	}
	fmt.Fprintln(table, strings.ToUpper(strings.Join(head, "\t")))
	for i := range r.Rows {
		row := &r.Rows[i]
		b := row.Case.Benchmark
		cells := []string{b.Name, string(row.Fabric), strconv.Itoa(row.Ranks), FormatSize(row.Case.Size), b.Unit}
		for runner := range r.Runners {
			cells = append(cells, tableCell(row.Samples[runner]))
		}
		if ratio, ok := row.Ratio(); ok {
			cells = append(cells, strconv.FormatFloat(ratio, 'f', 2, 64))
		}
		fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	return table.Flush()
}

func tableCell(samples []float64) string {
	s := Summarize(samples)
	if len(samples) == 1 {
		return decimal(s.Median, 4)
	}
	return fmt.Sprintf("%s (%s–%s)", decimal(s.Median, 4), decimal(s.Min, 4), decimal(s.Max, 4))
}

// WriteCSV writes the report as CSV with a head: a comparison as one column of medians for each runner and the ratio, a
// single runner's as the median, the least and the greatest.
func (r *Report) WriteCSV(w io.Writer) error {
	lines := &strings.Builder{}
	comparison := len(r.Runners) > 1
	if comparison {
		fmt.Fprintf(lines, "benchmark,fabric,np,size_bytes,unit,%s,ratio\n", strings.Join(r.Runners, ","))
	} else {
		fmt.Fprintln(lines, "benchmark,fabric,np,size_bytes,unit,median,min,max")
	}
	for i := range r.Rows {
		row := &r.Rows[i]
		b := row.Case.Benchmark
		cells := []string{b.Name, string(row.Fabric), strconv.Itoa(row.Ranks), strconv.Itoa(row.Case.Size), b.Unit}
		if ratio, ok := row.Ratio(); ok {
			for runner := range r.Runners {
				cells = append(cells, decimal(row.Summary(runner).Median, 6))
			}
			cells = append(cells, decimal(ratio, 4))
		} else {
			s := row.Summary(0)
			cells = append(cells, decimal(s.Median, 6), decimal(s.Min, 6), decimal(s.Max, 6))
		}
		fmt.Fprintln(lines, strings.Join(cells, ","))
	}
	_, err := io.WriteString(w, lines.String())
	return err
}

type jsonRow struct {
	Benchmark string       `json:"benchmark"`
	Fabric    Fabric       `json:"fabric"`
	Ranks     int          `json:"np"`
	Size      int          `json:"size_bytes"`
	Unit      string       `json:"unit"`
	Better    Better       `json:"better"`
	Results   []jsonResult `json:"results"`
	Ratio     *float64     `json:"ratio,omitempty"`
}

type jsonResult struct {
	Runner  string    `json:"runner"`
	Median  float64   `json:"median"`
	Min     float64   `json:"min"`
	Max     float64   `json:"max"`
	Samples []float64 `json:"samples"`
}

// WriteJSON writes the report as a JSON array with an object for each row, with every sample.
func (r *Report) WriteJSON(w io.Writer) error {
	rows := make([]jsonRow, len(r.Rows))
	for i := range r.Rows {
		row := &r.Rows[i]
		b := row.Case.Benchmark
		rows[i] = jsonRow{
			Benchmark: b.Name, Fabric: row.Fabric, Ranks: row.Ranks, Size: row.Case.Size, Unit: b.Unit, Better: b.Better,
		}
		for runner, name := range r.Runners {
			s := row.Summary(runner)
			rows[i].Results = append(rows[i].Results,
				jsonResult{Runner: name, Median: s.Median, Min: s.Min, Max: s.Max, Samples: row.Samples[runner]})
		}
		if ratio, ok := row.Ratio(); ok {
			rows[i].Ratio = &ratio
		}
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(rows)
}

// decimal writes a positive value with so many significant digits and no exponent; digits before the point are all kept.
func decimal(v float64, digits int) string {
	decimals := digits
	for limit := 1.0; v >= limit && decimals > 0; limit *= 10 {
		decimals--
	}
	for limit := 0.1; v < limit && v > 0 && decimals < 12; limit /= 10 {
		decimals++
	}
	return strconv.FormatFloat(v, 'f', decimals, 64)
}
