"""Settings of training, read from STORYSHELF_* environment variables."""

from typing import Literal

from pydantic import Field

from feature_repo.settings import Settings


class TrainingSettings(Settings):
    """How models are fitted, evaluated and let through. Windows are whole days before the shop's last event."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the writer is trained: auto takes a GPU if there is one.")
    seed: int = Field(20, ge=0, description="Seed of every random choice in training; the same inputs and seed give the same models.")
    threads: int = Field(2, ge=1, description="Threads of the ranker's training. Serving uses one.")

    holdout_days: int = Field(30, ge=1, description="Length of the test period, the last days of the data, and of the tuning period before it.")
    label_days: int = Field(90, ge=1, description="Days before the test period from which the ranker's label groups are drawn.")
    label_groups: int = Field(3000, ge=10, description="Label groups (a user and a moment) that the ranker learns from; more are sampled down.")
    evaluation_users: int = Field(2000, ge=10, description="Users that a period is evaluated on; more are sampled down, the same for every model.")
    label_horizon_days: int = Field(1, ge=1, description="Days after a label's moment whose purchases count as relevant; 1 is the day itself.")
    candidates: int = Field(200, ge=10, description="Products that the retrievers hand to the ranker for one user.")
    negatives: int = Field(100, ge=5, description="Candidates without a label that stay in a label group of training, drawn at random.")
    trees: int = Field(300, ge=10, description="Most trees of the ranker; fewer when a later slice of labels stops improving.")
    profile_choices: int = Field(20000, ge=100, description="Later choices that the profile's weights are learned from; more are sampled down.")

    gate_below_popular: float = Field(0.0, ge=0, description="How far the ranker's NDCG@10 may lie below popularity's and still become challenger.")
    gate_below_best: float = Field(0.0, ge=0, description="How far the ranker's NDCG@10 may lie below the best single retriever's.")
    gate_below_champion: float = Field(
        0.02,
        ge=0,
        description="How far NDCG@10 (for a retriever recall) may lie below the champion's on what happened since it was trained.",
    )
    gate_similar: float = Field(
        0.1, ge=-1, le=1, description="How much more of the first ten, at least, similar histories share than two people drawn at random."
    )
    gate_dislike: float = Field(0.0, ge=-1, le=1, description="How far, as a share of the list, products of a newly disliked category must fall.")
    gate_complement: float = Field(0.01, ge=-1, le=1, description="How far, as a share of the list, a complement of a new purchase must rise.")
    gate_new_user: float = Field(
        0.7, ge=0, le=1, description="Least share of products, on average, that fewer users took than what somebody unknown is shown."
    )
    gate_violating: float = Field(0.5, ge=0, le=1, description="Most drafts of a writer that may need another try because a claim is not borne out.")
    gate_fallback: float = Field(0.5, ge=0, le=1, description="Most requests that a writer may leave to the template.")
    mlflow_host: str = Field("127.0.0.1", description="Address that the MLflow UI listens on.")
    mlflow_port: int = Field(5000, ge=1, le=65535, description="Port of the MLflow UI.")
