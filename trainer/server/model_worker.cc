#include "trainer/server/model_worker.h"

#include <algorithm>
#include <future>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"

namespace wyvern {

ModelWorker::ModelWorker(Model* model, ModelWorkerOptions options)
    : model_(model), options_(options), thread_([this] { Loop(); }) {}

ModelWorker::~ModelWorker() {
  End();
  thread_.join();
}

absl::Status ModelWorker::Submit(ModelWork work, OnDone on_done) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (ended_) return absl::CancelledError("the server is ending");
  if (waiting_.size() >= options_.max_waiting) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the server is busy, and ", waiting_.size(), " requests wait; try again"));
  }
  const auto limit =
      std::chrono::duration_cast<std::chrono::steady_clock::duration>(options_.time_limit);
  waiting_.push_back({.work = std::move(work),
                      .on_done = std::move(on_done),
                      .deadline = std::chrono::steady_clock::now() + limit});
  changed_.notify_all();
  return absl::OkStatus();
}

absl::StatusOr<ModelAnswer> ModelWorker::Run(ModelWork work) {
  std::promise<absl::StatusOr<ModelAnswer>> promise;
  const absl::Status accepted = Submit(std::move(work), [&](absl::StatusOr<ModelAnswer> answer) {
    promise.set_value(std::move(answer));
  });
  if (!accepted.ok()) return accepted;
  return promise.get_future().get();
}

void ModelWorker::End() {
  const std::lock_guard<std::mutex> lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

void ModelWorker::Loop() {
  while (true) {
    std::vector<Job> jobs;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [&] { return ended_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      jobs.swap(waiting_);
    }
    // Who came too late or asks too late is answered at once.
    const auto late = std::stable_partition(jobs.begin(), jobs.end(), [&](Job& job) {
      job.given_up = WhyGiveUp(job);
      return job.given_up.ok();
    });
    for (auto job = late; job != jobs.end(); ++job) job->on_done(job->given_up);
    jobs.erase(late, jobs.end());
    if (!jobs.empty()) DoTogether(&jobs);
  }
}

absl::Status ModelWorker::WhyGiveUp(const Job& job) {
  if (std::chrono::steady_clock::now() > job.deadline) {
    return absl::DeadlineExceededError(absl::StrCat(
        "the request took longer than ", options_.time_limit.count(), " s; ask for less"));
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  if (ended_) return absl::CancelledError("the server is ending");
  return absl::OkStatus();
}

void ModelWorker::DoTogether(std::vector<Job>* jobs) {
  ScorerOptions options = options_.scorer;
  options.top_k = 0;
  std::vector<ScoreRequest> scores;
  std::vector<GenerateRequest> prompts;
  for (Job& job : *jobs) {
    options.top_k = std::max(options.top_k, job.work.top_k);
    scores.insert(scores.end(), job.work.scores.begin(), job.work.scores.end());
    for (const GenerateRequest& prompt : job.work.prompts) {
      prompts.push_back(prompt);
      prompts.back().on_token = [&job, this, ask = prompt.on_token](int32_t token) {
        if (job.given_up.ok()) job.given_up = WhyGiveUp(job);
        return job.given_up.ok() && (!ask || ask(token));
      };
    }
  }
  Scorer scorer(model_, options);
  absl::StatusOr<std::vector<ScoreResult>> scored = scorer.Score(scores);
  absl::StatusOr<std::vector<GenerateResult>> generated = absl::CancelledError();
  if (scored.ok()) generated = scorer.Generate(prompts);
  const absl::Status status = scored.ok() ? generated.status() : scored.status();
  size_t next_score = 0, next_prompt = 0;
  for (Job& job : *jobs) {
    if (!status.ok() || !job.given_up.ok()) {
      job.on_done(status.ok() ? job.given_up : status);
    } else {
      ModelAnswer answer;
      const auto s = scored->begin() + static_cast<ptrdiff_t>(next_score);
      const auto g = generated->begin() + static_cast<ptrdiff_t>(next_prompt);
      answer.scores.assign(s, s + static_cast<ptrdiff_t>(job.work.scores.size()));
      answer.generated.assign(g, g + static_cast<ptrdiff_t>(job.work.prompts.size()));
      job.on_done(std::move(answer));
    }
    next_score += job.work.scores.size();
    next_prompt += job.work.prompts.size();
  }
}

}  // namespace wyvern
