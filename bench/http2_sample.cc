// What both ends of http2 say first, for whoever must know it on the wire.
#include "bench/http2_codec.h"

namespace bench {

std::string http2_before_content(bool request, std::uint64_t content_bytes) {
  ClientJob job;
  job.workload.kind = WorkloadKind::http2;
  job.workload.request = base::Bytes{content_bytes};
  job.workload.response = base::Bytes{content_bytes};
  const Http2Requests requests(job);
  Http2Calls calls(requests, 1);
  Http2Call call;
  if (!calls.open() || !calls.begin(call, 1)) return {};
  std::string said(calls.rest());
  if (!request) {
    const Http2Answers answers(ServerJob{.kind = WorkloadKind::http2, .listen = {}});
    Http2Answers::Turn turn;
    answers.take(turn, said.data(), said.size());
    said = Http2Answers::rest(turn);
  }
  // The content is all that is behind the head of its frame.
  said.resize(said.size() - content_bytes);
  return said;
}

}  // namespace bench
