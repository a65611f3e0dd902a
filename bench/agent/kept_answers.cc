#include "bench/agent/kept_answers.h"

#include <algorithm>

namespace bench {
namespace {

// Of every command, beside its lines: so that a flood of short answers is bounded, too.
constexpr std::size_t allowance = 256;

// Shorter answers are forgotten whole: a notice in their place would hardly make room.
constexpr std::size_t worth_a_notice = 1024;

}  // namespace

void KeptAnswers::begin(std::string session) {
  session_ = std::move(session);
  answers_.clear();
  bytes_ = 0;
  last_id_ = 0;
}

bool KeptAnswers::seen(std::uint64_t id) const { return !session_.empty() && id <= last_id_; }

void KeptAnswers::open(std::uint64_t id) {
  if (session_.empty()) return;
  if (answers_.try_emplace(id).second) bytes_ += allowance;
  last_id_ = std::max(last_id_, id);
}

void KeptAnswers::keep(std::uint64_t id, std::string_view line, bool last) {
  const auto found = answers_.find(id);
  if (found == answers_.end()) return;
  found->second.lines += line;
  found->second.ended = last;
  bytes_ += line.size();
  make_room();
}

std::string KeptAnswers::said(std::uint64_t id) const {
  const auto found = answers_.find(id);
  return found == answers_.end() ? std::string() : found->second.lines;
}

KeptAnswers::Answers::iterator KeptAnswers::forget(Answers::iterator answer) {
  bytes_ -= answer->second.lines.size() + allowance;
  return answers_.erase(answer);
}

void KeptAnswers::received(const std::vector<std::uint64_t>& ids) {
  for (const auto id : ids) {
    const auto found = answers_.find(id);
    if (found != answers_.end() && found->second.ended) forget(found);
  }
}

KeptAnswers::Resumed KeptAnswers::resume(const std::vector<std::uint64_t>& outstanding) {
  Resumed resumed;
  const auto is_outstanding = [&](std::uint64_t id) {
    return std::ranges::find(outstanding, id) != outstanding.end();
  };
  for (const auto id : outstanding) {
    if (!answers_.contains(id)) resumed.unknown.push_back(id);
  }
  for (auto answer = answers_.begin(); answer != answers_.end();) {
    if (is_outstanding(answer->first)) {
      resumed.again += answer->second.lines;
      ++answer;
      continue;
    }
    if (!answer->second.ended) resumed.given_up.push_back(answer->first);
    answer = forget(answer);
  }
  return resumed;
}

void KeptAnswers::make_room() {
  // First the words go, oldest first, then the memory that there was something.
  for (auto answer = answers_.begin(); answer != answers_.end() && bytes_ > most_bytes_; ++answer) {
    auto& [lines, ended] = answer->second;
    if (!ended || lines.size() < worth_a_notice) continue;
    std::string notice = to_line(
        Message{.type = MessageType::error,
                .id = answer->first,
                .error = WireError{{.kind = base::ErrorKind::peer_lost,
                                    .message = fmt::format("its answer of {} bytes was not kept: "
                                                           "the controller was away too long",
                                                           lines.size())}}});
    if (notice.size() >= lines.size()) continue;
    bytes_ -= lines.size() - notice.size();
    lines = std::move(notice);
  }
  for (auto answer = answers_.begin(); answer != answers_.end() && bytes_ > most_bytes_;) {
    answer = answer->second.ended ? forget(answer) : std::next(answer);
  }
}

}  // namespace bench
