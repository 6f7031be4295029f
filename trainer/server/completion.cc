#include "trainer/server/completion.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/io/utf8.h"

namespace wyvern {
namespace {

using Json = nlohmann::json;

// JSON has no infinity; OpenAI gives this number for it.
constexpr double kLeastLogProb = -9999;

double Finite(double log_prob) { return std::max(log_prob, kLeastLogProb); }

}  // namespace

Completion::Completion(const ServedModel* model, CompletionRequest request, std::string id,
                       int64_t created)
    : model_(model),
      request_(std::move(request)),
      id_(std::move(id)),
      created_(created),
      texts_(request_.prompts.size()),
      at_end_of_turn_(request_.prompts.size()) {
  for (const std::vector<int32_t>& prompt : request_.prompts) {
    stops_.emplace_back(model->tokenizer(), prompt.back(), request_.stop);
  }
}

bool Completion::WritesByScores() const {
  return ScoresPrompts() && request_.options.max_tokens == 1 &&
         request_.options.sampling.temperature == 0;
}

bool Completion::AddToken(size_t choice, int32_t token, const OnText& on_text) {
  if (request_.end_of_turn == token) {
    at_end_of_turn_[choice] = true;
    return false;
  }
  const std::string text = stops_[choice].Add(token);
  texts_[choice] += text;
  const bool go_on = !on_text || text.empty() || on_text(choice, text);
  return go_on && !stops_[choice].stopped();
}

ModelWork Completion::Work(const OnText& on_text) {
  ModelWork work;
  work.top_k = request_.logprobs.value_or(0);
  if (WritesByScores()) work.top_k = std::max<int64_t>(1, work.top_k);
  for (size_t i = 0; i < request_.prompts.size(); ++i) {
    const std::vector<int32_t>& prompt = request_.prompts[i];
    if (ScoresPrompts()) {
      ScoreRequest score{{prompt[0]}, {prompt.begin() + 1, prompt.end()}};
      // Any token: its place shows which one is the most likely.
      if (WritesByScores()) score.continuation.push_back(prompt[0]);
      work.scores.push_back(std::move(score));
    }
    if (request_.options.max_tokens == 0 || WritesByScores()) continue;
    work.prompts.push_back(
        {.prompt = prompt,
         .options = request_.options,
         .want_scores = request_.logprobs.has_value(),
         .on_token = [this, i, on_text](int32_t token) { return AddToken(i, token, on_text); }});
  }
  return work;
}

void Completion::TakeTokensOfScores(ModelAnswer* answer) {
  for (size_t i = 0; i < request_.prompts.size(); ++i) {
    TokenScore score = std::move(answer->scores[i].tokens.back());
    answer->scores[i].tokens.pop_back();
    const int32_t token = score.most_likely;
    score.log_likelihood = score.top[0].second;
    GenerateResult result;
    result.scores.push_back(std::move(score));
    if (token == request_.options.eos_id) {
      result.finish = FinishReason::kEos;
    } else {
      result.tokens.push_back(token);
      AddToken(i, token, nullptr);
    }
    answer->generated.push_back(std::move(result));
  }
}

std::string Completion::Rest(size_t choice) {
  const std::string rest = stops_[choice].Rest();
  texts_[choice] += rest;
  return rest;
}

Json Completion::Answer(ModelAnswer answer) {
  if (WritesByScores()) TakeTokensOfScores(&answer);
  if (request_.options.max_tokens == 0) answer.generated.resize(request_.prompts.size());
  Json choices = Json::array();
  for (size_t i = 0; i < request_.prompts.size(); ++i) {
    Rest(i);
    Json choice = {{"index", i}, {"finish_reason", FinishReasonOf(i, answer)}};
    if (request_.chat) {
      choice["message"] = {{"role", "assistant"}, {"content", texts_[i]}};
      choice["logprobs"] = nullptr;
    } else {
      const std::string echoed =
          request_.echo ? model_->tokenizer().Decode(request_.prompts[i]) : "";
      choice["text"] = echoed + texts_[i];
      choice["logprobs"] = request_.logprobs.has_value() ? LogProbs(i, answer) : Json();
    }
    choices.push_back(std::move(choice));
  }
  Json whole = Envelope(request_.chat ? "chat.completion" : "text_completion");
  whole["choices"] = std::move(choices);
  whole["usage"] = Usage(answer);
  return whole;
}

Json Completion::Envelope(const char* object) const {
  return {{"id", id_}, {"object", object}, {"created", created_}, {"model", model_->name()}};
}

Json Completion::Chunk(size_t choice, Json content, Json finish_reason) const {
  Json part = {{"index", choice},
               {"logprobs", nullptr},
               {"finish_reason", std::move(finish_reason)},
               {request_.chat ? "delta" : "text", std::move(content)}};
  Json chunk = Envelope(request_.chat ? "chat.completion.chunk" : "text_completion");
  chunk["choices"] = Json::array({std::move(part)});
  return chunk;
}

Json Completion::FirstChunk(size_t choice) const {
  return Chunk(choice, request_.chat ? Json{{"role", "assistant"}, {"content", ""}} : Json(""),
               nullptr);
}

Json Completion::TextChunk(size_t choice, const std::string& text) const {
  return Chunk(choice, request_.chat ? Json{{"content", text}} : Json(text), nullptr);
}

Json Completion::LastChunk(size_t choice, const ModelAnswer& answer) const {
  return Chunk(choice, request_.chat ? Json::object() : Json(""), FinishReasonOf(choice, answer));
}

Json Completion::UsageChunk(const ModelAnswer& answer) const {
  Json chunk = Envelope(request_.chat ? "chat.completion.chunk" : "text_completion");
  chunk["choices"] = Json::array();
  chunk["usage"] = Usage(answer);
  return chunk;
}

Json Completion::FinishReasonOf(size_t choice, const ModelAnswer& answer) const {
  const bool at_eos =
      choice < answer.generated.size() && answer.generated[choice].finish == FinishReason::kEos;
  return at_eos || at_end_of_turn_[choice] || stops_[choice].stopped() ? "stop" : "length";
}

Json Completion::Usage(const ModelAnswer& answer) const {
  size_t prompt_tokens = 0, completion_tokens = 0;
  for (const std::vector<int32_t>& prompt : request_.prompts) prompt_tokens += prompt.size();
  for (const GenerateResult& result : answer.generated) completion_tokens += result.tokens.size();
  return {{"prompt_tokens", prompt_tokens},
          {"completion_tokens", completion_tokens},
          {"total_tokens", prompt_tokens + completion_tokens}};
}

Json Completion::LogProbs(size_t choice, const ModelAnswer& answer) const {
  Json tokens = Json::array(), log_probs = Json::array(), top = Json::array(),
       offsets = Json::array();
  int64_t offset = 0;
  const auto add = [&](int32_t id, const TokenScore* score) {
    tokens.push_back(model_->TokenText(id));
    offsets.push_back(offset);
    offset += CountCharacters(model_->tokenizer().BytesOf(id));
    if (score == nullptr) {
      log_probs.push_back(nullptr);
      top.push_back(nullptr);
      return;
    }
    const double log_prob = Finite(score->log_likelihood);
    log_probs.push_back(log_prob);
    Json likely = {{model_->TokenText(id), log_prob}};
    const auto listed = static_cast<size_t>(*request_.logprobs);
    for (size_t k = 0; k < std::min(listed, score->top.size()); ++k) {
      // Tokens of the same text: the likelier one comes first.
      likely.emplace(model_->TokenText(score->top[k].first), Finite(score->top[k].second));
    }
    top.push_back(std::move(likely));
  };
  if (request_.echo) {
    const std::vector<int32_t>& prompt = request_.prompts[choice];
    add(prompt[0], nullptr);  // nothing stands before it
    for (size_t t = 1; t < prompt.size(); ++t) {
      add(prompt[t], &answer.scores[choice].tokens[t - 1]);
    }
  }
  const GenerateResult& result = answer.generated[choice];
  for (size_t t = 0; t < result.scores.size(); ++t) {
    // An eos that ended the text has a score, and is no part of it.
    add(t < result.tokens.size() ? result.tokens[t] : *request_.options.eos_id, &result.scores[t]);
  }
  return {{"tokens", tokens},
          {"token_logprobs", log_probs},
          {"top_logprobs", top},
          {"text_offset", offsets}};
}

}  // namespace wyvern
