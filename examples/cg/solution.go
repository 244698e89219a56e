package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"

	"outboard/examples/cg/internal/cg"
	"outboard/mpi"
)

// A solutionFile is open on rank 0; on the others, or if no solution is wanted, file is nil.
type solutionFile struct {
	wanted bool
	file   *os.File
}

const tagSolution = 100

// createSolution makes the file before the work begins, so that a bad name wastes none. All ranks must call it.
func createSolution(world *mpi.Comm, name string) (s solutionFile, err error) {
	s.wanted = name != ""
	if s.wanted && world.Rank() == 0 {
		s.file, err = os.Create(name)
	}
	return s, cg.Agree(world, err)
}

// close releases the file; what counts has been closed by write.
func (s solutionFile) close() {
	if s.file != nil {
		s.file.Close()
	}
}

// write writes the ranks' parts of x one after the other, a number a line with all its digits. All ranks must call it.
func (s solutionFile) write(world *mpi.Comm, p *cg.Partition, x []float64) error {
	if !s.wanted {
		return nil
	}
	if world.Rank() > 0 {
		if len(x) > 0 {
			if err := mpi.Send(world, x, 0, tagSolution); err != nil {
				return err
			}
		}
		return cg.Agree(world, nil)
	}
	w := bufio.NewWriter(s.file) // keeps its first error for Flush
	fmt.Fprintf(w, "%%%%MatrixMarket matrix array real general\n%d 1\n", p.Rows())
	writeNumbers(w, x)
	for rank := 1; rank < world.Size(); rank++ {
		first, end := p.Range(rank)
		part := make([]float64, end-first)
		if len(part) == 0 {
			continue
		}
		if _, err := mpi.Recv(world, part, rank, tagSolution); err != nil {
			return err
		}
		writeNumbers(w, part)
	}
	err := w.Flush()
	if err == nil {
		err = s.file.Close()
	}
	return cg.Agree(world, err)
}

func writeNumbers(w *bufio.Writer, numbers []float64) {
	var line []byte
	for _, v := range numbers {
		line = append(strconv.AppendFloat(line[:0], v, 'g', -1, 64), '\n')
		w.Write(line)
	}
}
