package trace_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"outboard/verbs/internal/ib"
	"outboard/verbs/internal/trace"
)

// onesSum is the checksum of the Internet over big-endian 16-bit words; 0xffff if the data holds its own.
func onesSum(b []byte) uint16 {
	var s uint32
	for len(b) > 1 {
		s += uint32(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// frames reads a trace.
func frames(t *testing.T, file io.Reader) (name string, data [][]byte, when []time.Time) {
	t.Helper()
	r, err := pcapgo.NewNgReader(file, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	if r.LinkType() != layers.LinkTypeEthernet {
		t.Errorf("link type %v", r.LinkType())
	}
	for {
		b, ci, err := r.ReadPacketData()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, when = append(data, b), append(when, ci.Timestamp)
	}
	i, err := r.Interface(0)
	if err != nil {
		t.Fatal(err)
	}
	return i.Name, data, when
}

func TestFrames(t *testing.T) {
	var file bytes.Buffer
	w, err := trace.New(&file, "emu0")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Unix(1_700_000_000, 123_456_789)
	var pkts [][]byte
	for i, op := range opcodes() {
		_, p := packet(op, i, 64+i%4)
		pkts = append(pkts, p)
		if err := w.Packet(start.Add(time.Duration(i)), p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	name, data, when := frames(t, &file)
	if name != "emu0" || len(data) != len(pkts) {
		t.Fatalf("interface %q with %d frames, want emu0 with %d", name, len(data), len(pkts))
	}
	src, dst := ib.GIDOf("a").HardwareAddr(), ib.GIDOf("b").HardwareAddr()
	for i, p := range pkts {
		if want := start.Add(time.Duration(i)); !when[i].Equal(want) {
			t.Errorf("frame %d at %v, want %v", i, when[i], want)
		}
		f := data[i]
		if net.HardwareAddr(f[:6]).String() != net.HardwareAddr(dst[:]).String() || net.HardwareAddr(f[6:12]).String() != net.HardwareAddr(src[:]).String() {
			t.Errorf("frame %d: from %x to %x, want %x to %x", i, f[6:12], f[:6], src, dst)
		}
		ip, udp, rest := f[14:54], f[54:62], f[62:]
		if !bytes.Equal(f[12:14], []byte{0x86, 0xdd}) || !bytes.Equal(ip, p[:ib.GRHLen]) || !bytes.Equal(rest, p[ib.GRHLen:]) {
			t.Errorf("frame %d is %x, want the packet %x", i, f, p)
		}
		if n := binary.BigEndian.Uint16(udp[4:]); n != binary.BigEndian.Uint16(ip[4:]) || int(n) != len(udp)+len(rest) {
			t.Errorf("frame %d: UDP length %d", i, n)
		}
		if port := binary.BigEndian.Uint16(udp); port != ib.UDPSourcePort(0x100000+uint32(i)) || binary.BigEndian.Uint16(udp[2:]) != 4791 {
			t.Errorf("frame %d: ports %x", i, udp[:4])
		}
		pseudo := append(append([]byte{}, ip[8:40]...), 0, 0, udp[4], udp[5], 0, 0, 0, 17)
		if s := onesSum(append(append(pseudo, udp...), rest...)); s != 0xffff {
			t.Errorf("frame %d: UDP checksum %x sums to %#x, want 0xffff", i, udp[6:8], s)
		}
	}
}

func TestMulticast(t *testing.T) {
	var file bytes.Buffer
	w, err := trace.New(&file, "emu0")
	if err != nil {
		t.Fatal(err)
	}
	h, _ := packet(ib.UDSendOnly, 0, 0)
	h.Dst = ib.GID{0xff, 0x0e, 12: 1, 13: 2, 14: 3, 15: 4}
	if err := w.Packet(time.Unix(1, 0), ib.Seal(h.Append(nil, 0))); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	_, data, _ := frames(t, &file)
	eth := gopacket.NewPacket(data[0], layers.LayerTypeEthernet, gopacket.Default).LinkLayer().(*layers.Ethernet)
	if got := eth.DstMAC.String(); got != "33:33:01:02:03:04" {
		t.Errorf("sent to %s", got)
	}
}

func TestShortPacket(t *testing.T) {
	var file bytes.Buffer
	w, err := trace.New(&file, "emu0")
	if err != nil {
		t.Fatal(err)
	}
	_, p := packet(ib.RCSendFirst, 0, 64)
	var pe *ib.PacketError
	for _, n := range []int{0, ib.GRHLen, ib.GRHLen + 12 + ib.ICRCLen - 1} {
		if err := w.Packet(time.Unix(1, 0), p[:n]); !errors.Is(err, ib.ErrShort) || !errors.As(err, &pe) || pe.Got != uint64(n) {
			t.Errorf("%d bytes: error %v, want %v", n, err, ib.ErrShort)
		}
	}
	if err := w.Packet(time.Unix(1, 0), p); err != nil { // and is none the worse for it
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, data, _ := frames(t, &file); len(data) != 1 {
		t.Errorf("%d frames, want 1", len(data))
	}
}

// A failing writer fails from its n-th byte on, each time with another error.
type failing struct {
	room  int
	fails []error
}

func (f *failing) Write(p []byte) (int, error) {
	if f.room -= len(p); f.room >= 0 {
		return len(p), nil
	}
	f.fails = append(f.fails, errors.New("no room"))
	return 0, f.fails[len(f.fails)-1]
}

func TestFirstErrorStays(t *testing.T) {
	for _, room := range []int{1 << 8, 1 << 12, 1 << 14} {
		f := &failing{room: room}
		w, err := trace.New(f, "emu0")
		if err != nil {
			t.Fatal(err)
		}
		_, p := packet(ib.RCSendFirst, 0, 64)
		for i := 0; err == nil && i < 1000; i++ {
			err = w.Packet(time.Unix(1, 0), p)
		}
		if err == nil || len(f.fails) != 1 || err != f.fails[0] {
			t.Fatalf("room for %d bytes: error %v of %d, want the first", room, err, len(f.fails))
		}
		f.room = 1 << 30
		if again := w.Packet(time.Unix(1, 0), p); again != err {
			t.Errorf("next packet: error %v, want %v", again, err)
		}
		if again := w.Flush(); again != err {
			t.Errorf("flush: error %v, want %v", again, err)
		}
		if len(f.fails) != 1 || f.room != 1<<30 {
			t.Error("written to after the failure")
		}
	}
}

func TestNoRoomForTheHeader(t *testing.T) {
	f := &failing{}
	if w, err := trace.New(f, "emu0"); w != nil || len(f.fails) != 1 || err != f.fails[0] {
		t.Errorf("error %v of %d, want the writer's first", err, len(f.fails))
	}
}

// A parts is a writer that keeps what it gets at each Write.
type parts struct{ all [][]byte }

func (p *parts) Write(b []byte) (int, error) {
	p.all = append(p.all, bytes.Clone(b))
	return len(b), nil
}

// upTo is the file after so many writes.
func (p *parts) upTo(n int) io.Reader { return bytes.NewReader(bytes.Join(p.all[:n], nil)) }

// TestEveryWriteLeavesAFile has the process die after any write: the file then holds whole packets, the header from the beginning.
func TestEveryWriteLeavesAFile(t *testing.T) {
	var file parts
	w, err := trace.New(&file, "emu0")
	if err != nil {
		t.Fatal(err)
	}
	if len(file.all) == 0 {
		t.Fatal("the header is not written")
	}
	const packets = 3000
	for i := range packets {
		_, p := packet(ib.RCSendOnly, i, i%len(text))
		if err := w.Packet(time.Unix(1, 0), p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	last := 0
	for n := 1; n <= len(file.all); n++ {
		name, data, _ := frames(t, file.upTo(n))
		if name != "emu0" || len(data) < last {
			t.Errorf("after %d writes: %d frames of %q, %d before", n, len(data), name, last)
		}
		last = len(data)
	}
	if last != packets || len(file.all) < 5 || len(file.all) > packets/10 {
		t.Errorf("%d frames in %d writes, want %d in some", last, len(file.all), packets)
	}
}

// TestFlushPeriod has packets, and looks at the clock, at given times: what was written, counted in packets.
func TestFlushPeriod(t *testing.T) {
	const ms = time.Millisecond
	var file parts
	w, err := trace.New(&file, "emu0")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Unix(1_700_000_000, 0)
	_, p := packet(ib.RCSendOnly, 0, 64)
	for _, step := range []struct {
		at     time.Duration
		packet bool
		want   int
	}{
		{0, true, 1}, // the first at once
		{1 * ms, true, 1},
		{99 * ms, true, 1},
		{99 * ms, false, 1},
		{100 * ms, true, 4},
		{150 * ms, true, 4},
		{199 * ms, false, 4},
		{200 * ms, false, 5},
		{299 * ms, true, 5},
		{900 * ms, false, 6},
	} {
		now := start.Add(step.at)
		if step.packet {
			err = w.Packet(now, p)
		} else {
			err = w.FlushStale(now)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, data, _ := frames(t, file.upTo(len(file.all))); len(data) != step.want {
			t.Errorf("after %v: %d frames are written, want %d", step.at, len(data), step.want)
		}
	}
}

func TestConcurrent(t *testing.T) {
	var file bytes.Buffer
	w, err := trace.New(&file, "emu0")
	if err != nil {
		t.Fatal(err)
	}
	const writers, each = 4, 100
	var wg sync.WaitGroup
	for n := range writers {
		wg.Go(func() {
			_, p := packet(ib.RCWriteOnly, n, 64)
			for range each {
				if err := w.Packet(time.Unix(1, 0), p); err != nil {
					t.Error(err)
				}
			}
			if err := w.Flush(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	_, data, _ := frames(t, &file)
	counts := map[uint32]int{}
	for _, f := range data {
		var h ib.Header
		if _, err := h.Parse(append(append([]byte{}, f[14:54]...), f[62:]...)); err != nil {
			t.Fatal(err)
		}
		counts[h.DestQP]++
	}
	for n := range uint32(writers) {
		if counts[0x100000+n] != each {
			t.Errorf("%d packets of writer %d, want %d", counts[0x100000+n], n, each)
		}
	}
}

func BenchmarkPacket(b *testing.B) {
	w, err := trace.New(io.Discard, "emu0")
	if err != nil {
		b.Fatal(err)
	}
	_, p := packet(ib.RCSendFirst, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Packet(time.Unix(1, 0), p); err != nil {
			b.Fatal(err)
		}
	}
}
