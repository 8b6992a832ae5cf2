"""Who sends a company's text messages."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from backend.app.models.base import Base
from backend.app.models.types import created


class SmsAccount(Base):
    """A company's account with a provider of text messages; neither script ever writes here.

    account    the provider's name of the account (Twilio: its Account SID, AC...)
    username   who signs in: the account itself, or an API key of it (Twilio: SK...)
    secret     a Fernet token (see credentials.py) of the auth token, or of the API key's secret
    sender     a number in E.164, or a name of at most 11 letters, digits and spaces
    """

    __tablename__ = "sms_accounts"

    company_id: Mapped[int] = mapped_column(sa.ForeignKey("companies.id"), primary_key=True)
    provider: Mapped[str] = mapped_column(sa.String(20))
    account: Mapped[str] = mapped_column(sa.String(64))
    username: Mapped[str] = mapped_column(sa.String(64))
    secret: Mapped[str] = mapped_column(sa.Text)
    sender: Mapped[str] = mapped_column(sa.String(20))
    is_active: Mapped[bool] = mapped_column(server_default=sa.true())
    created_at: Mapped[created]
