// Any frames, through everything that reads them: nothing may crash, read beyond a frame or keep
// more than its room, and what is found is counted once.
#include <cstdint>
#include <cstdlib>

#include "probes/wire/wire_watch.h"

namespace {

void must(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

// Each frame is preceded by two bytes with its length.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const probes::CaptureJob job{
      .servers = {base::Endpoint::parse("10.0.0.2:80").value(),
                  base::Endpoint::parse("[fd00::2]:80").value()},
      .canaries = {{"request", std::string(32, 'a')}, {"reply", std::string(32, 'b')}}};
  probes::WireWatch watch(job);
  base::ByteSpan rest(data, size);
  std::uint64_t frames = 0;
  while (rest.size() >= 2) {
    const std::size_t length = std::min<std::size_t>(base::read_be16(rest), rest.size() - 2);
    const auto frame = rest.subspan(2, length);
    const auto packet = base::read_packet(frame);
    if (packet.kind == base::PacketKind::tcp && !packet.segment.payload.empty()) {
      must(packet.segment.payload.data() >= frame.data());
      must(packet.segment.payload.data() + packet.segment.payload.size() <=
           frame.data() + frame.size());
    }
    watch.take(frame, frame.size(), {static_cast<std::int64_t>(++frames)});
    rest = rest.subspan(2 + length);
  }
  const auto report = watch.finish();
  must(report.unreadable + report.sealed <= frames);
  must(report.connections_of_tls + report.connections_midway + report.connections_with_gaps +
           report.connections_foreign ==
       report.connections);
  must(report.tls_bytes_to_servers <= report.bytes_to_servers);
  must(report.bytes_to_servers + report.bytes_to_clients <= size);
  return 0;
}
