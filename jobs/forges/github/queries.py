"""GraphQL of GitHub. A test checks each against the published schema. Data only."""

PULL = """
query Pull($owner: String!, $name: String!, $number: Int!, $threads: String, $checks: String) {
  repository(owner: $owner, name: $name) {
    pullRequest(number: $number) {
      id number title url state isDraft maintainerCanModify updatedAt
      author { login }
      baseRefName baseRefOid headRefName headRefOid
      baseRef {
        refUpdateRule {
          requiredApprovingReviewCount requiredStatusCheckContexts requiresCodeOwnerReviews
          requiresConversationResolution
        }
        rules(first: 50) {
          nodes {
            parameters {
              __typename
              ... on PullRequestParameters {
                requiredApprovingReviewCount requireCodeOwnerReview requiredReviewThreadResolution
              }
              ... on RequiredStatusChecksParameters {
                requiredStatusChecks { context }
                strictRequiredStatusChecksPolicy
              }
            }
          }
        }
      }
      headRepository { nameWithOwner }
      mergeable mergeStateStatus reviewDecision
      additions deletions changedFiles
      labels(first: 30) { nodes { name } }
      closingIssuesReferences(first: 10) { nodes { number } }
      latestOpinionatedReviews(first: 50) { nodes { author { login } state submittedAt commit { oid } } }
      reviewThreads(first: 100, after: $threads) {
        pageInfo { hasNextPage endCursor }
        nodes {
          id isResolved isOutdated path line
          comments(first: 20) { nodes { author { login } body url createdAt } }
        }
      }
      commits(last: 1) {
        nodes {
          commit {
            oid
            statusCheckRollup {
              contexts(first: 100, after: $checks) {
                pageInfo { hasNextPage endCursor }
                nodes {
                  __typename
                  ... on CheckRun {
                    databaseId name status conclusion detailsUrl isRequired(pullRequestNumber: $number)
                    checkSuite { app { slug } workflowRun { workflow { name } } }
                  }
                  ... on StatusContext { context state targetUrl isRequired(pullRequestNumber: $number) }
                }
              }
            }
          }
        }
      }
    }
  }
}
"""

START_REVIEW = """
mutation StartReview(
  $pull: ID!, $commit: GitObjectID!, $body: String, $threads: [DraftPullRequestReviewThread]
) {
  addPullRequestReview(input: {pullRequestId: $pull, commitOID: $commit, body: $body, threads: $threads}) {
    pullRequestReview { id }
  }
}
"""

ADD_FILE_THREAD = """
mutation AddFileThread($review: ID!, $path: String!, $body: String!) {
  addPullRequestReviewThread(
    input: {pullRequestReviewId: $review, path: $path, body: $body, subjectType: FILE}
  ) {
    thread { id }
  }
}
"""

SUBMIT_REVIEW = """
mutation SubmitReview($review: ID!, $event: PullRequestReviewEvent!, $body: String) {
  submitPullRequestReview(input: {pullRequestReviewId: $review, event: $event, body: $body}) {
    pullRequestReview { state url }
  }
}
"""

DISCARD_REVIEW = """
mutation DiscardReview($review: ID!) {
  deletePullRequestReview(input: {pullRequestReviewId: $review}) { pullRequestReview { id } }
}
"""

FIND_REVIEWS = """
query FindReviews($owner: String!, $name: String!, $number: Int!, $before: String) {
  repository(owner: $owner, name: $name) {
    pullRequest(number: $number) {
      reviews(last: 100, before: $before) {
        pageInfo { hasPreviousPage startCursor }
        nodes { id state body url viewerDidAuthor }
      }
    }
  }
}
"""

FIND_THREADS = """
query FindThreads($owner: String!, $name: String!, $number: Int!, $after: String) {
  repository(owner: $owner, name: $name) {
    pullRequest(number: $number) {
      reviewThreads(first: 100, after: $after) {
        pageInfo { hasNextPage endCursor }
        nodes {
          id isResolved
          comments(last: 50) { nodes { body url viewerDidAuthor } }
        }
      }
    }
  }
}
"""

ADD_REPLY = """
mutation AddReply($thread: ID!, $body: String!) {
  addPullRequestReviewThreadReply(input: {pullRequestReviewThreadId: $thread, body: $body}) {
    comment { url }
  }
}
"""

RESOLVE_THREAD = """
mutation ResolveThread($thread: ID!) {
  resolveReviewThread(input: {threadId: $thread}) { thread { id isResolved } }
}
"""
